/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The node's devices that have the uplink's programs: what comes in by any other passes the stack, and so does its answer. */
#ifndef SLUICEWAY_UPLINK_H
#define SLUICEWAY_UPLINK_H

#include "dp/abi/uplink.h"
#include "dp/config.h"

/* By ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct uplink);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} uplinks SEC(".maps") AGENT_WRITES(17);

static __always_inline struct uplink *uplink_find(__u32 ifindex)
{
	return bpf_map_lookup_elem(&uplinks, &ifindex);
}

#endif
