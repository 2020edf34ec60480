/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who has an address on this node: a pod at its attachment, or the node itself. */
#ifndef SLUICEWAY_ENDPOINT_H
#define SLUICEWAY_ENDPOINT_H

#include "dp/abi/endpoint.h"
#include "dp/packet/addr.h"
#include "dp/config.h"

EXPORT_ENUM(endpoint_flag);
EXPORT_ENUM(attachment_flag);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, ip_addr);
	__type(value, struct endpoint);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} endpoints SEC(".maps") AGENT_WRITES(20) SIZED_BY(max_endpoints) REVISES(CHANGE);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct attachment);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} attachments SEC(".maps") AGENT_WRITES(15) SIZED_BY(max_endpoints);

/* The slot of the pod behind a device that another CNI plugin made, by its ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} chained_devices SEC(".maps") AGENT_WRITES(16) SIZED_BY(max_endpoints);

/* Do other CNI plugins make the pods' network? They deliver what is for a pod under its own address. */
static __always_inline bool is_network_chained(void)
{
	const struct node *n = node_now();

	return n && n->flags & NODE_CHAINED;
}

/* Are services served to who is outside and to the node itself? Over another plugin's network that may be another proxy's. */
static __always_inline bool serves_outside(void)
{
	const struct node *n = node_now();

	return n && (n->flags & (NODE_CHAINED | NODE_SERVES_ALL)) != NODE_CHAINED;
}

/* Does another proxy serve services, behind the programs at pods' devices and before those where packets leave? */
static __always_inline bool has_other_proxy(void)
{
	const struct node *n = node_now();

	return n && n->flags & NODE_OTHER_PROXY;
}

static __always_inline struct attachment *attachment_at(__u32 slot)
{
	return bpf_map_lookup_elem(&attachments, &slot);
}

static __always_inline struct endpoint *endpoint_find(const ip_addr *addr)
{
	return bpf_map_lookup_elem(&endpoints, addr);
}

/* Is the address one of this node's own? Most often the one under which the cluster knows it. */
static __always_inline bool addr_is_node(const ip_addr *addr)
{
	const struct node *n = node_now();
	struct endpoint *e;

	if (n && (addr_equal(addr, &n->addr4) || addr_equal(addr, &n->addr6)))
		return !addr_is_zero(addr); /* which a node without that family has */
	e = endpoint_find(addr);
	return e && e->flags & ENDPOINT_NODE;
}

/* Has one of this node's devices the address? Not each that the cluster knows it under need be one. */
static __always_inline bool addr_is_held(const ip_addr *addr)
{
	struct endpoint *e = endpoint_find(addr);

	return e && e->flags & ENDPOINT_HELD;
}

/* An address of this node, or one that each host has for itself. */
static __always_inline bool addr_is_here(const ip_addr *addr)
{
	return addr_is_loopback(addr) || addr_is_node(addr);
}

#endif
