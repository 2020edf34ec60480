/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Backend sets: which backend of a set serves a flow. */
#ifndef SLUICEWAY_BACKEND_H
#define SLUICEWAY_BACKEND_H

#include "dp/abi/backend.h"
#include "dp/abi/service.h"
#include "dp/packet/addr.h"
#include "dp/service/ring.h"

EXPORT_ENUM(backend_flag);
EXPORT_NUMBER(MAGLEV_SLOTS);

_Static_assert((SET_REVISIONS & (SET_REVISIONS - 1)) == 0, "an id is cut to it");

/* What each set is for; the datapath has no use for it, agents and people have. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct backend_set);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} backend_sets SEC(".maps") AGENT_WRITES(80) SIZED_BY(max_services);

/* A set has no more parts than backends, or than their weights together (maps/maglev.py bounds these). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct maglev_key);
	__type(value, struct maglev);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} maglevs SEC(".maps") AGENT_WRITES(70) SIZED_BY(max_backends);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct backend);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} backends SEC(".maps") AGENT_WRITES(60) SIZED_BY(max_backends) REVISES(SET);

/* By the low bits of a set's id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SET_REVISIONS);
	__type(key, __u32);
	__type(value, struct set_revision);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} set_revisions SEC(".maps") AGENT_WRITES(85);

/* The revision of a set; one that changes has lost a backend. Read before the backend that it is kept with. */
static __always_inline __u32 set_revision(__u32 set_id)
{
	__u32 index = set_id & (SET_REVISIONS - 1);
	struct set_revision *r = bpf_map_lookup_elem(&set_revisions, &index);

	return r ? *(volatile __u32 *)&r->number : 0;
}

static __always_inline struct backend *backend_find(__u32 set_id, __u32 slot)
{
	struct backend_key key = {.set_id = set_id, .slot = slot};

	return bpf_map_lookup_elem(&backends, &key);
}

/* Which slot a hash falls on: its high bits spread evenly, as hash % MAGLEV_SLOTS would with its low ones. */
static __always_inline __u32 maglev_index(__u32 hash)
{
	return (__u64)hash * MAGLEV_SLOTS >> 32;
}

/*
 * The backend whose turn it is, or who has least. As backend_choose(): a ring read just before it is replaced may name one that
 * is gone.
 */
static __always_inline struct backend *backend_of_ring(const struct service *s, __u16 *slot)
{
	for (int i = 0; i < 2; i++) {
		int found = s->scheduler == SCHEDULER_RR ? ring_turn(s->set_id) : ring_least(s->set_id);
		struct backend *b;

		if (found < 0)
			return NULL;
		*slot = found;
		b = backend_find(s->set_id, *slot);
		if (b)
			return b;
	}
	return NULL;
}

/*
 * The backend that serves a flow of this hash, and its slot; with some schedulers the hash says nothing.
 * A table read just before it is replaced may name a backend just gone: the second look sees the new table.
 */
static __always_inline struct backend *backend_choose(const struct service *s, __u32 hash, __u16 *slot)
{
	struct maglev_key key = {.set_id = s->set_id, .part = hash & (s->parts - 1)};
	__u32 index = maglev_index(hash);

	if (s->backends == 1) {
		struct backend *only = backend_find(s->set_id, s->slot);

		*slot = s->slot;
		if (only)
			return only;
	}
	if (s->scheduler == SCHEDULER_RR || s->scheduler == SCHEDULER_LC)
		return backend_of_ring(s, slot);
	barrier_var(index); /* the compiler knows its range, Linux 6.1's verifier does not */
	if (index >= MAGLEV_SLOTS)
		return NULL;
	for (int i = 0; i < 2; i++) {
		struct maglev *table = bpf_map_lookup_elem(&maglevs, &key);
		struct backend *b;

		if (!table)
			return NULL;
		*slot = table->slots[index];
		b = backend_find(s->set_id, *slot);
		if (b)
			return b;
	}
	return NULL;
}

#endif
