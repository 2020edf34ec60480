/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* sessionAffinity ClientIP: a client stays with its backend until it was away for the service's timeout. */
#ifndef SLUICEWAY_AFFINITY_H
#define SLUICEWAY_AFFINITY_H

#include "dp/abi/affinity.h"
#include "dp/service/backend.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} affinities SEC(".maps") PROGRAMS_WRITE SIZED_BY(max_affinities) CARRIED;

/* The client's backend, when it has one that is still in the set and takes new flows; refreshes it. */
static __always_inline struct backend *affinity_find(const struct service *s, const struct affinity_key *key,
						     __u16 *slot)
{
	struct affinity *a = bpf_map_lookup_elem(&affinities, key);
	__u32 now = now_s();
	struct backend *b;

	/* the clock's unit is 1.07 s: the timeout is the shorter in it by a fourteenth */
	if (!a || now - a->seen_s > s->affinity_s - s->affinity_s / 14)
		return NULL;
	b = backend_find(s->set_id, a->slot);
	if (!b || !b->weight || b->port != a->port || !addr_equal(&b->addr, &a->addr))
		return NULL;
	a->seen_s = now;
	*slot = a->slot;
	return b;
}

static __always_inline void affinity_keep(const struct affinity_key *key, const struct backend *b, __u16 slot)
{
	struct affinity a = {.addr = b->addr, .port = b->port, .slot = slot, .seen_s = now_s()};

	bpf_map_update_elem(&affinities, key, &a, BPF_ANY);
}

#endif
