/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A backend set as a ring: whose turn it is, and who on it has least. Slots of backends, or -1. */
#ifndef SLUICEWAY_RING_H
#define SLUICEWAY_RING_H

#include "dp/abi/backend.h"
#include "dp/service/load.h"

EXPORT_NUMBER(RING_PLACES);

/* Of sets with SCHEDULER_RR or SCHEDULER_LC. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ring_key);
	__type(value, struct ring);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} rings SEC(".maps") AGENT_WRITES(66) SIZED_BY(max_services);

/* Of sets with SCHEDULER_RR; by the set's id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct turn);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} turns SEC(".maps") AGENT_WRITES(64) SIZED_BY(max_services);

static __always_inline struct ring *ring_part(__u32 set_id, __u32 part)
{
	struct ring_key key = {.set_id = set_id, .part = part};

	return bpf_map_lookup_elem(&rings, &key);
}

/* A place in a part. The compiler knows the range, Linux 6.1's verifier does not. */
static __always_inline __u32 ring_at(__u32 place)
{
	place %= RING_PLACES;
	barrier_var(place);
	return place < RING_PLACES ? place : 0;
}

/* Takes the next turn; all CPUs take turns from one number, so each place comes as often as any other, whoever asks. */
__noinline int ring_turn(__u32 set_id)
{
	struct turn *t = bpf_map_lookup_elem(&turns, &set_id);
	struct ring *ring = ring_part(set_id, 0);
	__u32 turn;

	if (!ring || !ring->length)
		return -1;
	turn = (t ? __sync_fetch_and_add(&t->taken, 1) : bpf_get_prandom_u32()) % ring->length;
	if (turn >= RING_PLACES)
		ring = ring_part(set_id, turn / RING_PLACES);
	return ring ? ring->slots[ring_at(turn)] : -1;
}

enum {
	/* so many are looked at: of larger sets not the least, but the least of so many neighbours on the ring, each time others */
	RING_LOOKS = 256,
};
EXPORT_NUMBER(RING_LOOKS);

/* The search for who has least. */
struct ring_search {
	struct ring *ring; /* the part of it that is looked at */
	__u32 set_id;
	__u32 run;
	__u32 places; /* of the part, round whose end it goes on */
	__u32 at;     /* the one that is looked at next */
	__u32 flows;  /* what the least has, with the flow that is to begin */
	__u32 weight; /* and its weight; 0: there is none yet */
	__u32 slot;
};

/* Looks at one place; of those that are alike the first stays. */
static long ring_look(__u32 turn, void *ctx)
{
	struct ring_search *s = ctx;
	struct ring *ring = s->ring;
	struct backend_key of = {.set_id = s->set_id};
	__u32 at = ring_at(s->at), flows, weight;
	struct load *l;

	(void)turn;
	of.slot = ring->slots[at];
	weight = ring->weights[at];
	l = bpf_map_lookup_elem(&loads, &of);
	flows = (l ? load_open(l, s->run) : 0) + 1;
	if (!s->weight || (__u64)flows * s->weight < (__u64)s->flows * weight) {
		s->flows = flows;
		s->weight = weight;
		s->slot = of.slot;
	}
	s->at = s->at + 1 < s->places ? s->at + 1 : 0;
	return 0;
}

/*
 * Who has least by its weight, counting the flow that is to begin; begun at a random place, so that of those that are alike each
 * is as likely.
 */
__noinline int ring_least(__u32 set_id)
{
	struct ring_search s = {.ring = ring_part(set_id, 0), .set_id = set_id};
	struct load_walk *walk = load_walk();
	__u32 any = bpf_get_prandom_u32();

	if (!s.ring || !s.ring->length || !walk)
		return -1;
	s.run = walk->run;
	s.places = s.ring->length;
	if (s.places > RING_PLACES) {
		s.ring = ring_part(set_id, any % ((s.places + RING_PLACES - 1) / RING_PLACES));
		s.places = RING_PLACES;
		any = bpf_get_prandom_u32();
	}
	if (!s.ring)
		return -1;
	s.at = any % s.places;
	bpf_loop(s.places < RING_LOOKS ? s.places : RING_LOOKS, ring_look, &s, 0);
	return s.weight ? (int)s.slot : -1;
}

#endif
