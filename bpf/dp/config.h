/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the loader fixes before load (constants, folded by the verifier) and what changes while the node runs. */
#ifndef SLUICEWAY_CONFIG_H
#define SLUICEWAY_CONFIG_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "dp/abi/node.h"

#define DOC(text) __attribute__((btf_decl_tag(text)))

/*
 * A map is declared once: behind it stand who writes it (one of the first three) and what else the agent must know of it.
 * maps/declared.py reads this from BTF, maps/abi.py has it.
 */
/* the agent, in this order: what is referred to has a lower number than what refers to it */
#define AGENT_WRITES(order) DOC(":agent " #order)
#define PROGRAMS_WRITE DOC(":programs")
/* the programs alone write and read it: Python knows the size of its entries, not their layout */
#define PRIVATE DOC(":private")
/* the option of the agent that gives the number of its entries */
#define SIZED_BY(option) DOC(":option " #option)
/* entries that one CPU is good for: more CPUs, more entries */
#define PER_CPU(entries) DOC(":per_cpu " #entries)
/* a hash of our own: its elements are a key and what is under it, each behind a way of one of this map's buckets */
#define IN_BUCKETS(map) DOC(":buckets " #map)
/* of an object that is loaded once for each interface: no map of the node's, and in no generation */
#define PER_INTERFACE DOC(":interface")
/* copied into the map of the next generation while links move there */
#define CARRIED DOC(":carried")
/*
 * which change makes flows look again at their ends, service and backend: a CHANGE of any kind, KEYS that come or go or whose value
 * begins with another number, or one that goes, for the flows to the SET in it
 */
#define REVISES(change) DOC(":revises " #change)

#define EXPORT_ENUM(name) const volatile enum name __export_##name = 0
#define EXPORT_NUMBER(name) const volatile __u32 __export_##name = name /* for constants of enums without a name */
#define EXPORT_MAC(name) const volatile mac_addr __export_##name = name

/* One record, under key 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node SEC(".maps") AGENT_WRITES(100);

/* The node's record; never NULL, but the verifier wants to hear it. */
static __always_inline struct node *node_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node, &zero);
}

enum {
	MOMENT_BITS = 27,			  /* in_moments() counts 2^27 ns (0.13 s) */
	SEEN_BITS = 30,				  /* in_s() and each seen_s count 2^30 ns (1.07 s) */
	MOMENTS = 1 << (SEEN_BITS - MOMENT_BITS), /* in_moments() to in_s() */
};
EXPORT_NUMBER(SEEN_BITS);

/* Time in units of 2^27 ns (0.13 s). */
static __always_inline __u32 in_moments(__u64 ns)
{
	return ns >> MOMENT_BITS;
}

/* Time in units of 2^30 ns (1.07 s): fine enough for time-outs, and no division. */
static __always_inline __u32 in_s(__u64 ns)
{
	return in_moments(ns) / MOMENTS;
}

static __always_inline __u32 now_s(void)
{
	return in_s(bpf_ktime_get_coarse_ns());
}

#endif
