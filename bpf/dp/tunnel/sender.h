/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Who may send what is encapsulated: nodes of the cluster, to each other, and each for itself and its own pods, or for who is outside to
 * a pod of the other.
 */
#ifndef SLUICEWAY_SENDER_H
#define SLUICEWAY_SENDER_H

#include "dp/endpoint/endpoint.h"
#include "dp/endpoint/location.h"
#include "dp/packet/packet.h"

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

/* Can it be the address of who is outside the cluster? Nobody here has it, no Node, no pod and no service. */
static __noinline bool addr_is_outside(const ip_addr *addr)
{
	struct peer_location at = {};

	if (addr_is_loopback(addr) || addr_is_multicast(addr) || addr_is_link_local_v6(addr) || node_of(addr))
		return false;
	location_of(addr, &at);
	return !at.slot && !at.remote_id;
}

/* Is it for a pod of this node? */
static __noinline bool is_for_own_pod(const struct packet *p)
{
	struct peer_location at = {};

	location_of(&p->dst, &at);
	return at.slot;
}

/*
 * May a node have sent what was encapsulated, whose address is the outer source: under an address of its own or of its pods, or to a
 * pod of this node under that of who is outside, and asked there for a service? Sets forward's via then.
 */
__noinline int check_inner(const ip_addr *outer)
{
	struct scratch *work = scratch();
	const struct prefix *by;
	const struct packet *p;
	__u32 from;
	__u16 via;

	if (!outer || !work)
		return DROP_TUNNEL_OUTER;
	p = &work->packet;
	by = prefix_find(outer);
	if (!by || !(by->flags & PREFIX_NODE) || !by->node_id)
		return DROP_TUNNEL_OUTER;
	if (p->flags & PACKET_OTHER)
		return DROP_TUNNEL_INNER;
	from = by->node_id;
	via = by->forward_id;
	if (node_of(&p->src) == from)
		return DROP_NONE;
	if (!via || !addr_is_outside(&p->src) || !is_for_own_pod(p))
		return DROP_TUNNEL_INNER;
	work->forward.via = via;
	return DROP_NONE;
}

#endif
