/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a pod may send, the same at the node's end of its veth and on its VF: under its own name, and nothing that others alone may. */
#ifndef SLUICEWAY_FROM_POD_H
#define SLUICEWAY_FROM_POD_H

#include "dp/conntrack/conntrack.h"
#include "dp/endpoint/neighbor.h"
#include "dp/tunnel/sender.h"

/* What a pod sends that is neither IPv4 nor IPv6. */
static __always_inline enum drop_reason check_other(ctx_t *ctx, const struct packet *p)
{
	switch (bpf_ntohs(p->ethertype)) {
	case ETH_P_ARP:
		return check_arp(ctx);
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return DROP_VLAN;
	}
	return DROP_ETHERTYPE;
}

/* Is it ICMPv6 under no address yet: duplicate address detection, multicast listener reports? */
static __always_inline bool has_no_address(const struct packet *p)
{
	return p->protocol == IPPROTO_ICMPV6 && addr_is_zero(&p->src) &&
	       !(p->flags & (PACKET_V4 | PACKET_ECHO | PACKET_ICMP_ERROR));
}

/* Is the packet the pod's own? A flow that is up to date remembers its device; else the endpoints are asked. */
static __always_inline enum drop_reason check_pod(ctx_t *ctx, struct scratch *work, const struct flow *f)
{
	if (f && work->ct.is_current)
		work->sender = *flow_source(f, work->ct.src_hi);
	else
		location_of(&work->packet.src, &work->sender);
	return check_source(ctx, &work->sender);
}

/* May the pod send this: under its own name, and nothing that only nodes, routers or DHCP servers may? */
static __always_inline enum drop_reason check_packet(ctx_t *ctx, struct scratch *work, const struct flow *f)
{
	const struct packet *p = &work->packet;
	enum drop_reason why = check_pod(ctx, work, f);

	if (!why && p->protocol == IPPROTO_ICMPV6)
		why = check_nd(ctx, p);
	if (why)
		return why;
	if (is_dhcp_answer(p))
		return DROP_DHCP_ANSWER;
	if (is_for_nodes_tunnel(p))
		return DROP_TUNNEL_POD;
	if (addr_is_link_local_v6(&p->src) && p->protocol != IPPROTO_ICMPV6 && !is_for_link(p))
		return DROP_SOURCE_ADDRESS; /* nobody routes that */
	return DROP_NONE;
}

#endif
