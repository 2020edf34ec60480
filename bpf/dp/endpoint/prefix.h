/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ranges of addresses that are no endpoint's: behind another node's tunnel, not to be masqueraded, or behind a pod of this node
 * that routes for them. Asked once per flow.
 */
#ifndef SLUICEWAY_PREFIX_H
#define SLUICEWAY_PREFIX_H

#include "dp/abi/location.h"
#include "dp/abi/prefix.h"
#include "dp/packet/addr.h"
#include "dp/config.h"

EXPORT_ENUM(prefix_flag);
EXPORT_ENUM(node_flag);
EXPORT_NUMBER(REMOTE_SELF);
EXPORT_NUMBER(REMOTE_BEHIND);
EXPORT_NUMBER(REMOTE_CLUSTER_IP);
EXPORT_NUMBER(REMOTE_EXTERNAL_IP);

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 32768); /* the nodes of a large cluster, each with two ranges and addresses */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct prefix);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} prefixes SEC(".maps") AGENT_WRITES(50) SIZED_BY(max_prefixes) REVISES(CHANGE);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct remote);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} remotes SEC(".maps") AGENT_WRITES(40) SIZED_BY(max_prefixes) REVISES(CHANGE);

/* What pods of this node may send from, beside their own addresses, and are sent: as the Namespaces allow it. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct routed_range);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} routed_ranges SEC(".maps") AGENT_WRITES(25) SIZED_BY(max_prefixes) REVISES(CHANGE);

/* The key of one address, which finds the longest prefix that contains it. */
static __always_inline struct prefix_key prefix_key_of(const ip_addr *addr)
{
	return (struct prefix_key){
		.prefix_bits = 8 * (sizeof(struct prefix_key) - sizeof(__u32)),
		.family = addr_is_v4(addr) ? 4 : 6,
		.addr = *addr,
	};
}

static __always_inline struct prefix *prefix_find(const ip_addr *addr)
{
	struct prefix_key key = prefix_key_of(addr);

	return bpf_map_lookup_elem(&prefixes, &key);
}

/* The number of the Node whose address, or pod's, it is; 0: nobody's. */
static __always_inline __u32 node_of(const ip_addr *addr)
{
	struct prefix *prefix = prefix_find(addr);

	return prefix ? prefix->node_id : 0;
}

/* The number of the Node that has the address itself; 0: it is no node's. */
static __always_inline __u32 node_at(const ip_addr *addr)
{
	struct prefix *prefix = prefix_find(addr);

	return prefix && prefix->flags & PREFIX_NODE ? prefix->node_id : 0;
}

static __always_inline struct routed_range *routed_range_find(const ip_addr *addr)
{
	struct prefix_key key = prefix_key_of(addr);

	return bpf_map_lookup_elem(&routed_ranges, &key);
}

/* Is it behind another node's tunnel? */
static __always_inline bool remote_is_tunnel(__u16 remote_id)
{
	return remote_id && remote_id < REMOTE_EXTERNAL_IP;
}

static __always_inline struct remote *remote_find(__u32 remote_id)
{
	return bpf_map_lookup_elem(&remotes, &remote_id);
}

#endif
