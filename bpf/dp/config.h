/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the loader fixes before load (constants, folded by the verifier) and what changes while the node runs. */
#ifndef SLUICEWAY_CONFIG_H
#define SLUICEWAY_CONFIG_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* a map that only programs use: Python is not shown it */
#define PRIVATE __attribute__((btf_decl_tag("private")))
#define DOC(text) __attribute__((btf_decl_tag(text)))
#define EXPORT_ENUM(name) const volatile enum name __export_##name = 0
#define EXPORT_NUMBER(name) const volatile __u32 __export_##name = name /* for constants of enums without a name */

/* One record, under key 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node SEC(".maps");

/* The node's record; never NULL, but the verifier wants to hear it. */
static __always_inline struct node *node_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node, &zero);
}

enum { MOMENTS = 8 }; /* in_moments() to in_s() */

/* Time in units of 2^27 ns (0.13 s). */
static __always_inline __u32 in_moments(__u64 ns)
{
	return ns >> 27;
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
