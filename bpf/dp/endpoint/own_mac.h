/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The MACs of this node's devices: what it says by one it may hear by another, and what is for none of them is others'. */
#ifndef SLUICEWAY_OWN_MAC_H
#define SLUICEWAY_OWN_MAC_H

#include "dp/abi/announce.h"
#include "dp/packet/addr.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct mac_key);
	__type(value, struct own_mac);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} own_macs SEC(".maps") AGENT_WRITES(86);

static __always_inline bool mac_is_own(const void *mac)
{
	struct mac_key key = {};

	mac_copy(&key.mac, mac);
	return bpf_map_lookup_elem(&own_macs, &key);
}

/* Is it the MAC of one of this node's devices that the frame is for? */
static __always_inline bool is_to_own_mac(const ctx_t *ctx)
{
	const struct ethhdr *eth = ctx_data(ctx);

	return (void *)(eth + 1) <= ctx_end(ctx) && mac_is_own(eth->h_dest);
}

#endif
