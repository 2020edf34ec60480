/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a pod may say of neighbours on the link to its node, or on its VF's: of itself alone, and to its node asked. Its node would note all else, until
 * the table that all pods and uplinks share is full (ARP: RFC 826; neighbour discovery: RFC 4861).
 */
#ifndef SLUICEWAY_NEIGHBOR_H
#define SLUICEWAY_NEIGHBOR_H

#include "dp/endpoint/location.h"
#include "dp/packet/parse.h"

enum {
	ARP_ETHERNET = 1,
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
	ND_ROUTER_SOLICITATION = 133,
	ND_ROUTER_ADVERTISEMENT = 134,
	ND_SOLICITATION = 135,
	ND_ADVERTISEMENT = 136,
	ND_REDIRECT = 137,
	ND_OPTION_SOURCE = 1, /* link-layer address */
	ND_OPTION_TARGET = 2,
	ND_OPTIONS = 4, /* looked at; nobody sends more */
	DHCP_SERVER = 67,
	DHCP_CLIENT = 68,
	DHCPV6_SERVER = 547,
	DHCPV6_CLIENT = 546,
};

/* For IPv4 over Ethernet; nothing in it is aligned. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	mac_addr sender_mac;
	__be32 sender;
	mac_addr target_mac;
	__be32 target;
} __attribute__((packed));

/* A solicitation or advertisement of a neighbour, without its options; a router solicitation is the first half. */
struct nd {
	struct icmp_header icmp;
	ip_addr target;
};

/* An option as far as it is looked at: one with a link-layer address is 8 octets long. */
struct nd_option {
	__u8 type;
	__u8 length; /* in units of 8 octets */
	mac_addr mac;
};

/* Is it an address of the pod behind this device, and the frame from its MAC? Then that pod is the sender. */
static __always_inline bool is_pods_own(ctx_t *ctx, const ip_addr *addr)
{
	struct scratch *work = scratch();

	if (!work)
		return false;
	location_of(addr, &work->sender);
	return !is_behind_pod(&work->sender) && check_source(ctx, &work->sender) == DROP_NONE;
}

static __always_inline bool is_frames_mac(ctx_t *ctx, const mac_addr *mac)
{
	struct ethhdr *eth = ctx_data(ctx);

	return (void *)(eth + 1) <= ctx_end(ctx) && mac_equal((const mac_addr *)eth->h_source, mac);
}

/*
 * A request or an answer under the pod's own MAC and address; one for the own address is nobody's question on a veth, and tells a VF's
 * neighbours where the address is now.
 */
__noinline int check_arp(ctx_t *ctx)
{
	mac_addr mac;
	ip_addr sender;
	struct arp arp;

	if (!ctx_load(ctx, L3, &arp, sizeof(arp)))
		return DROP_ARP;
	if (arp.hardware != bpf_htons(ARP_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    (arp.operation != bpf_htons(ARP_REQUEST) && arp.operation != bpf_htons(ARP_REPLY)))
		return DROP_ARP;
	mac = arp.sender_mac;
	sender = addr_v4(arp.sender);
	if (!IS_AT_VF && arp.sender == arp.target)
		return DROP_ARP;
	return is_frames_mac(ctx, &mac) && is_pods_own(ctx, &sender) ? DROP_NONE : DROP_ARP;
}

/* Is each link-layer address in the options, from an offset on, the frame's own; or is there none, where none may be? */
static __always_inline bool nd_options_hold(ctx_t *ctx, const struct packet *p, __u32 at, bool may_have)
{
	__u32 end = p->l4 + p->length;
	struct nd_option option;

	for (int i = 0; i < ND_OPTIONS; i++) {
		if (at >= end)
			return true;
		if (!ctx_load(ctx, at, &option, sizeof(option)) || !option.length)
			return false;
		if ((option.type == ND_OPTION_SOURCE || option.type == ND_OPTION_TARGET) &&
		    !(may_have && is_frames_mac(ctx, &option.mac)))
			return false;
		at += option.length * 8;
	}
	return at >= end;
}

/* A message of neighbour discovery by its type. A source of none is that of a pod which looks whether its address is free. */
static __always_inline bool nd_holds(ctx_t *ctx, const struct packet *p, __u8 type)
{
	bool has_source = !addr_is_zero(&p->src);
	struct scratch *work = scratch();
	struct nd nd;

	if (type < ND_ROUTER_SOLICITATION || type > ND_REDIRECT)
		return true;
	/* the node would take down each that it is asked by, and a pod may route for very many */
	if (has_source && (!work || is_behind_pod(&work->sender)))
		return false;
	switch (type) {
	case ND_ROUTER_SOLICITATION:
		return nd_options_hold(ctx, p, p->l4 + sizeof(nd.icmp), has_source);
	case ND_SOLICITATION:
		return nd_options_hold(ctx, p, p->l4 + sizeof(nd), has_source);
	case ND_ADVERTISEMENT:
		return has_source && (IS_AT_VF || !addr_is_multicast(&p->dst)) &&
		       ctx_load(ctx, p->l4, &nd, sizeof(nd)) && is_pods_own(ctx, &nd.target) &&
		       nd_options_hold(ctx, p, p->l4 + sizeof(nd), true);
	}
	return false;
}

/* Of ICMPv6 from a pod: neighbour discovery holds, and what else there is is not looked at. */
__noinline int check_nd(ctx_t *ctx, const struct packet *p)
{
	__u8 type;

	if (!p || !(p->flags & PACKET_L4) || !ctx_load(ctx, p->l4, &type, sizeof(type)))
		return DROP_NONE;
	return nd_holds(ctx, p, type) ? DROP_NONE : DROP_ND;
}

/* Is it what a DHCP server sends a client that has no address yet, or the node? */
static __always_inline bool is_dhcp_answer(const struct packet *p)
{
	if (p->protocol != IPPROTO_UDP || !(p->flags & PACKET_PORTS))
		return false;
	if (p->flags & PACKET_V4 ? p->dport != bpf_htons(DHCP_CLIENT) || p->sport != bpf_htons(DHCP_SERVER)
				 : p->dport != bpf_htons(DHCPV6_CLIENT) || p->sport != bpf_htons(DHCPV6_SERVER))
		return false;
	return addr_is_multicast(&p->dst) || addr_is_link_local_v6(&p->dst) || addr_is_node(&p->dst);
}

#endif
