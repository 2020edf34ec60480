/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where one end of a flow is: a pod's device here, this node itself, another node's tunnel, or wherever the kernel's routes lead. */
#ifndef SLUICEWAY_LOCATION_H
#define SLUICEWAY_LOCATION_H

#include "dp/endpoint/endpoint.h"
#include "dp/endpoint/prefix.h"

static __noinline void location_of(const ip_addr *addr, struct peer_location *peer)
{
	const struct node *n = node_now();
	struct endpoint *e = endpoint_find(addr);
	struct prefix *prefix;

	memset(peer, 0, sizeof(*peer));
	if (e && e->flags & ENDPOINT_NODE) {
		peer->remote_id = REMOTE_SELF;
	} else if (e) {
		peer->ifindex = e->ifindex;
		peer->mac = e->mac;
	}
	if (e || !n)
		return;
	prefix = prefix_find(addr);
	if (prefix && (n->tunnel_ifindex || prefix->remote_id == REMOTE_ROUTED))
		peer->remote_id = prefix->remote_id;
}

/* Is it an address of this node, or of a pod of it? */
static __always_inline bool is_located_here(const struct peer_location *peer)
{
	return peer->ifindex || peer->remote_id == REMOTE_SELF;
}

/* Has the pod behind the device sent this under its own name? */
static __always_inline enum drop_reason check_source(ctx_t *ctx, const struct peer_location *from)
{
	struct ethhdr *eth = ctx_data(ctx);

	if (from->ifindex != ctx_ifindex(ctx))
		return DROP_SOURCE_ADDRESS;
	if ((void *)(eth + 1) > ctx_end(ctx))
		return DROP_SHORT_PACKET;
	if (!mac_equal((mac_addr *)eth->h_source, &from->mac))
		return DROP_SOURCE_MAC;
	return DROP_NONE;
}

#endif
