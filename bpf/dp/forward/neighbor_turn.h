/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whose turn it is to ask for a neighbour. The kernel asks anew for those alone that its own stack, or tc's redirection, sends
 * to: of one that XDP sends to it would keep an old MAC for ever. So every few seconds one packet to each goes by tc.
 */
#ifndef SLUICEWAY_NEIGHBOR_TURN_H
#define SLUICEWAY_NEIGHBOR_TURN_H

#include "dp/packet/scratch.h"

enum {
	NEIGHBOR_TURNS = 1024,
	NEIGHBOR_S = 8, /* in tick_s()'s unit; a neighbour is fresh for 15 s at least (base_reachable_time, arp(7)) */
};

struct neighbor_turn {
	mac_addr mac;
	__u16 pad;
	__u32 seen_s; /* when a packet last went by tc, or the neighbour was first sent to; 0: never */
};

/* By a hash of the MAC. Who loses a place to another loses no more than packets to tc. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NEIGHBOR_TURNS);
	__type(key, __u32);
	__type(value, struct neighbor_turn);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} neighbor_turns SEC(".maps") PRIVATE;

static __always_inline struct neighbor_turn *neighbor_turn_of(const mac_addr *mac)
{
	const __u16 *w = (const void *)mac;
	__u32 index = ((w[0] * 31 + w[1]) * 31 + w[2]) & (NEIGHBOR_TURNS - 1);

	return bpf_map_lookup_elem(&neighbor_turns, &index);
}

/* Is it time that a packet to the neighbour goes by tc? */
static __always_inline bool is_neighbors_turn(const mac_addr *mac)
{
	struct neighbor_turn *turn = neighbor_turn_of(mac);
	__u32 now = tick_s();
	bool is_known, is_recent;

	if (!turn)
		return false;
	is_known = turn->seen_s && mac_equal(&turn->mac, mac);
	is_recent = turn->seen_s && now - turn->seen_s < NEIGHBOR_S;
	if (is_known && is_recent)
		return false;
	turn->mac = *mac;
	turn->seen_s = now;
	return is_known || is_recent; /* of two in one place each has it when it meets the other */
}

#endif
