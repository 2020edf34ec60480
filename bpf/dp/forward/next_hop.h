/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where the kernel's rules and routes lead a flow, kept beside its copy for a moment (0.13 s): asking them is the dearest
 * step of a packet that takes the kernel's route ahead of its stack. A neighbour is asked for with every packet.
 */
#ifndef SLUICEWAY_NEXT_HOP_H
#define SLUICEWAY_NEXT_HOP_H

#include "dp/conntrack/cache.h"

struct next_hop {
	struct bpf_redir_neigh via;
	__u32 ifindex;
	__u32 mtu; /* of the route, or the device: octets from the IP header on */
	__u32 pad;
};

_Static_assert(sizeof(struct next_hop) == 32, "two to a cache line");

/* By the index of a cached flow, as many. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct next_hop);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} next_hops SEC(".maps") PRIVATE PER_CPU(32768);

/* What was kept this moment, if anything was. */
static __always_inline bool next_hop_find(__u32 cached, struct next_hop *hop)
{
	struct next_hop *kept = bpf_map_lookup_elem(&next_hops, &cached);

	if (!kept || !cache_is_asked(cached))
		return false;
	*hop = *kept;
	return true;
}

static __always_inline void next_hop_keep(__u32 cached, const struct next_hop *hop)
{
	struct next_hop *kept = bpf_map_lookup_elem(&next_hops, &cached);

	if (!kept)
		return;
	*kept = *hop;
	cache_ask(cached);
}

#endif
