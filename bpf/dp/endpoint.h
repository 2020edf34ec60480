/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who has an address on this node: a pod behind a device, or the node itself. */
#ifndef SLUICEWAY_ENDPOINT_H
#define SLUICEWAY_ENDPOINT_H

#include "addr.h"
#include "config.h"

EXPORT_ENUM(endpoint_flag);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, ip_addr);
	__type(value, struct endpoint);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} endpoints SEC(".maps");

static __always_inline struct endpoint *endpoint_find(const ip_addr *addr)
{
	return bpf_map_lookup_elem(&endpoints, addr);
}

/* Is the address one of this node's own? */
static __always_inline bool addr_is_node(const ip_addr *addr)
{
	struct endpoint *e = endpoint_find(addr);

	return e && e->flags & ENDPOINT_NODE;
}

/* An address of this node, or one that each host has for itself. */
static __always_inline bool addr_is_here(const ip_addr *addr)
{
	return addr_is_loopback(addr) || addr_is_node(addr);
}

/* What a flow keeps of who has the address: zeros when it is no pod of this node. */
static __always_inline void flow_end_of(const ip_addr *addr, struct flow_end *end)
{
	struct endpoint *e = endpoint_find(addr);

	if (e && !(e->flags & ENDPOINT_NODE)) {
		end->ifindex = e->ifindex;
		end->mac = e->mac;
	} else {
		memset(end, 0, sizeof(*end));
	}
}

/* Has the pod behind the device sent this under its own name? */
static __always_inline enum drop_reason check_source(ctx_t *ctx, const struct flow_end *from)
{
	struct ethhdr *eth = ctx_data(ctx);

	if (from->ifindex != ctx->ifindex)
		return DROP_SOURCE_ADDRESS;
	if ((void *)(eth + 1) > ctx_end(ctx))
		return DROP_SHORT_PACKET;
	if (!mac_equal((mac_addr *)eth->h_source, &from->mac))
		return DROP_SOURCE_MAC;
	return DROP_NONE;
}

#endif
