/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How many open flows and sockets of this node's each backend has, for the scheduler that asks who has least. Who begins one adds
 * it, a socket that is closed takes it away; flows end with their entries, at any moment and unheard. So conntrack GC counts all of
 * them in each run, and its count takes the place of what was kept up meanwhile.
 */
#ifndef SLUICEWAY_LOAD_H
#define SLUICEWAY_LOAD_H

#include <stdbool.h>

#include "dp/abi/backend.h"
#include "dp/abi/load.h"
#include "dp/service/recount.h"
#include "dp/service/sock_peer.h"

EXPORT_NUMBER(LOAD_PLACES);
EXPORT_NUMBER(LOAD_WAYS);

_Static_assert((LOAD_PLACES & (LOAD_PLACES - 1)) == 0, "a number is cut to it");

/* Of the backends of sets with SCHEDULER_LC. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct load);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} loads SEC(".maps") AGENT_WRITES(62) SIZED_BY(max_backends);

/* The sockets that are counted, so that GC can count them again: a hash of our own, of LOAD_WAYS places for each socket. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOAD_PLACES);
	__type(key, __u32);
	__type(value, struct load_socket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} load_sockets SEC(".maps") PROGRAMS_WRITE CARRIED;

/* Nothing is counted on a node that has no use for it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct load_use);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} load_uses SEC(".maps") PROGRAMS_WRITE CARRIED;

/* From now on GC counts. */
static __always_inline void load_use(void)
{
	__u32 zero = 0;
	struct load_use *use = bpf_map_lookup_elem(&load_uses, &zero);

	if (use && !use->is_used)
		use->is_used = 1;
}

static __always_inline bool load_is_used(void)
{
	__u32 zero = 0;
	struct load_use *use = bpf_map_lookup_elem(&load_uses, &zero);

	return use && use->is_used;
}

/* One more, at a place that the run has passed or not. */
static __always_inline void load_more(const struct backend_key *of, __u32 run, bool passed)
{
	struct load *l = bpf_map_lookup_elem(&loads, of);

	if (!l)
		return;
	load_turn(l, run);
	__sync_fetch_and_add(&l->flows, 1);
	if (passed)
		__sync_fetch_and_add(&l->met, 1);
}

static __always_inline void load_less(const struct backend_key *of, __u32 run, bool passed)
{
	struct load *l = bpf_map_lookup_elem(&loads, of);

	if (!l)
		return;
	load_turn(l, run);
	if (*(volatile __u32 *)&l->flows)
		__sync_fetch_and_add(&l->flows, -1);
	if (passed && *(volatile __u32 *)&l->met)
		__sync_fetch_and_add(&l->met, -1);
}

/* ---- flows ------------------------------------------------------------------------------------------------ */

/* A flow has begun, whose entry is in this bucket. A function of its own, verified once. */
__noinline int load_flow_begins(__u32 set_id, __u32 slot, __u32 bucket)
{
	struct backend_key of = {.set_id = set_id, .slot = slot};
	struct load_walk *walk = load_walk();

	if (!walk)
		return 0;
	load_use();
	load_more(&of, walk->run, bucket < walk->bucket);
	return 0;
}

/* ---- sockets ---------------------------------------------------------------------------------------------- */

/* A number for what a socket was given, which nothing else has. */
static __always_inline __u64 load_socket_number(__u64 cookie, __u32 place)
{
	return cookie * SOCK_PEERS + place;
}

/* The first of the socket's places. */
static __always_inline __u32 load_socket_first(__u64 number)
{
	return (number * 0x9e3779b97f4a7c15 >> 32) * LOAD_WAYS & (LOAD_PLACES - 1);
}

/* The socket was given a backend. Not counted where its places are all taken: of so many sockets that it matters little. */
__noinline int load_socket_begins(__u64 number, __u32 set_id, __u32 slot)
{
	struct backend_key of = {.set_id = set_id, .slot = slot};
	__u32 first = load_socket_first(number);
	struct load_walk *walk = load_walk();

	if (!walk)
		return 0;
	load_use();
	for (int i = 0; i < LOAD_WAYS; i++) {
		__u32 place = first + i;
		struct load_socket *s = bpf_map_lookup_elem(&load_sockets, &place);

		if (!s || __sync_val_compare_and_swap(&s->socket, 0, number))
			continue;
		s->slot = slot;
		*(volatile __u32 *)&s->set_id = set_id;
		load_more(&of, walk->run, place < walk->place);
		return 1;
	}
	return 0;
}

/* The socket is closed, or asks another service. */
__noinline int load_socket_ends(__u64 number)
{
	__u32 first = load_socket_first(number);
	struct load_walk *walk = load_walk();

	if (!walk || !load_is_used())
		return 0;
	for (int i = 0; i < LOAD_WAYS; i++) {
		__u32 place = first + i;
		struct load_socket *s = bpf_map_lookup_elem(&load_sockets, &place);
		struct backend_key of;

		if (!s || *(volatile __u64 *)&s->socket != number)
			continue;
		of.set_id = s->set_id;
		of.slot = s->slot;
		*(volatile __u32 *)&s->set_id = 0; /* GC takes the next one for nobody's until it is whole */
		if (__sync_val_compare_and_swap(&s->socket, number, 0) == number)
			load_less(&of, walk->run, place < walk->place);
		return 1;
	}
	return 0;
}

/* ---- conntrack GC's part ---------------------------------------------------------------------------------- */

/* It has met an open flow or socket. */
static __always_inline void load_meet(__u32 set_id, __u32 slot)
{
	struct backend_key of = {.set_id = set_id, .slot = slot};
	struct load_walk *walk = load_walk();
	struct load *l;

	if (!walk || !load_is_used())
		return;
	l = bpf_map_lookup_elem(&loads, &of);
	if (!l)
		return;
	load_turn(l, walk->run);
	__sync_fetch_and_add(&l->met, 1);
}

/* It walks this bucket now. */
static __always_inline void load_walk_bucket(__u32 bucket)
{
	struct load_walk *walk = load_walk();

	if (walk)
		*(volatile __u32 *)&walk->bucket = bucket;
}

/*
 * Is it known no more what the socket was given? Then nobody will say that it is closed: it was while the hooks were not there, or
 * while what is known moved to other maps.
 */
static __always_inline bool load_socket_is_lost(__u64 number)
{
	struct sock_peer_key key = {.cookie = number / SOCK_PEERS};

	return !sock_peer_at(&key, number % SOCK_PEERS);
}

/* The next place of load_sockets. */
static long load_walk_socket(__u32 turn, void *ctx)
{
	struct load_walk *walk = load_walk();
	struct load_socket *s;
	__u64 number;
	__u32 place;

	(void)turn;
	(void)ctx;
	if (!walk)
		return 1;
	place = walk->place;
	s = bpf_map_lookup_elem(&load_sockets, &place);
	if (!s)
		return 1;
	number = *(volatile __u64 *)&s->socket;
	if (number && load_socket_is_lost(number))
		__sync_val_compare_and_swap(&s->socket, number, 0);
	else if (number && s->set_id)
		load_meet(s->set_id, s->slot);
	*(volatile __u32 *)&walk->place = place + 1;
	return 0;
}

/* As many places as of so many stretches one has. */
static __always_inline void load_walk_sockets(__u32 stretch, __u32 stretches)
{
	__u32 until = (__u64)LOAD_PLACES * stretch / stretches;
	struct load_walk *walk = load_walk();

	if (walk && load_is_used() && until > walk->place)
		bpf_loop(until - walk->place, load_walk_socket, NULL, 0);
}

/* The run has counted everything: its numbers hold, and the next one begins. */
static __always_inline void load_walk_ends(void)
{
	struct load_walk *walk = load_walk();

	if (!walk)
		return;
	*(volatile __u32 *)&walk->bucket = 0;
	*(volatile __u32 *)&walk->place = 0;
	__sync_fetch_and_add(&walk->run, 1);
}

#endif
