/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The ways of what passes through: by source, destination and protocol, which is all that the kernel's rules and routes are asked by.
 * Each holds for a moment (0.13 s), of every flow between the two; every CPU knows its own.
 */
#ifndef SLUICEWAY_KNOWN_WAY_H
#define SLUICEWAY_KNOWN_WAY_H

#include "dp/packet/scratch.h"

enum { KNOWN_WAYS = 1024 }; /* of a CPU */

struct known_way {
	ip_addr src;
	ip_addr dst;
	mac_addr to;
	mac_addr from;
	__u32 ifindex;
	__u32 mtu; /* of the route, or the device: octets from the IP header on */
	__u32 moment;
	__u32 protocol;
	__u32 pad;
};

_Static_assert(sizeof(struct known_way) == 64, "one cache line");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KNOWN_WAYS);
	__type(key, __u32);
	__type(value, struct known_way);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} known_ways SEC(".maps") PRIVATE PER_CPU(1024);

/* Where the way from one to the other is known, or is to be; NULL: this CPU knows none. */
static __always_inline struct known_way *known_way_at(const ip_addr *src, const ip_addr *dst)
{
	__u64 hash = ((addr_half(src, 2) ^ addr_half(src, 0) * 3) * 0x9e3779b97f4a7c15 ^ addr_half(dst, 2) ^
		      addr_half(dst, 0) * 5) *
		     0xbf58476d1ce4e5b9;
	__u32 index = bpf_get_smp_processor_id() * KNOWN_WAYS + (hash >> 32 & (KNOWN_WAYS - 1));

	return bpf_map_lookup_elem(&known_ways, &index);
}

/* Sets *way to what is known this moment. */
static __always_inline bool known_way_find(const ip_addr *src, const ip_addr *dst, __u8 protocol,
					   struct bpf_fib_lookup *way)
{
	const struct known_way *w = known_way_at(src, dst);

	if (!w || w->moment != tick_moment() || w->protocol != protocol || !addr_equal(&w->dst, dst) ||
	    !addr_equal(&w->src, src))
		return false;
	way->ifindex = w->ifindex;
	way->mtu_result = w->mtu;
	mac_copy(way->smac, &w->from);
	mac_copy(way->dmac, &w->to);
	return true;
}

static __always_inline void known_way_keep(const ip_addr *src, const ip_addr *dst, __u8 protocol,
					   const struct bpf_fib_lookup *way)
{
	struct known_way *w = known_way_at(src, dst);

	if (!w)
		return;
	w->src = *src;
	w->dst = *dst;
	mac_copy(&w->to, (const mac_addr *)way->dmac);
	mac_copy(&w->from, (const mac_addr *)way->smac);
	w->ifindex = way->ifindex;
	w->mtu = way->mtu_result;
	w->moment = tick_moment();
	w->protocol = protocol;
}

#endif
