/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who may send what is encapsulated: nodes of the cluster, to each other, and each for itself and its own pods. */
#ifndef SLUICEWAY_SENDER_H
#define SLUICEWAY_SENDER_H

#include "dp/endpoint/endpoint.h"
#include "dp/endpoint/prefix.h"
#include "dp/packet/packet.h"

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

/* Does a node of the cluster send it to this one? */
static __always_inline bool is_node_to_node(const struct packet *p)
{
	return addr_is_node(&p->dst) && node_at(&p->src);
}

static __always_inline bool is_ip_in_ip(const struct packet *p)
{
	return p->protocol == IPPROTO_IPIP || p->protocol == IPPROTO_IPV6;
}

/* Is it UDP to the port of the encapsulation? */
static __always_inline bool is_tunnel_port(const struct packet *p)
{
	const struct node *n = node_now();

	return n && n->tunnel_port && p->protocol == IPPROTO_UDP && p->flags & PACKET_PORTS &&
	       p->dport == n->tunnel_port;
}

/* Is it encapsulated as nodes do, and for one: this or another? */
static __always_inline bool is_for_nodes_tunnel(const struct packet *p)
{
	const struct node *n = node_now();

	if (!is_tunnel_port(p) && !(n && n->flags & NODE_IPIP && is_ip_in_ip(p)))
		return false;
	return addr_is_node(&p->dst) || node_at(&p->dst);
}

/* Did a node send it under an address of its own or of its pods? from: the node's number. */
static __always_inline enum drop_reason check_inner(const struct packet *p, __u32 from)
{
	if (!from)
		return DROP_TUNNEL_OUTER;
	return !(p->flags & PACKET_OTHER) && node_of(&p->src) == from ? DROP_NONE : DROP_TUNNEL_INNER;
}

#endif
