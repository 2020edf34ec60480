/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * IP in IP by headers of our own, either family in either (RFC 2003, RFC 2473, RFC 4213): it takes no device, and the
 * kernel's GSO packets stay whole. The outer header says DF and nothing of the inner one's ECN (RFC 6040 4.1, normal
 * mode's fallback): a fragment could not be taken apart by the other end's program, and its node drops what it marks.
 */
#ifndef SLUICEWAY_IPIP_H
#define SLUICEWAY_IPIP_H

#include "dp/packet/header.h"
#include "dp/tunnel/sender.h"

enum { ROOM_ALREADY = -114 /* -EALREADY */ };

static __always_inline __be16 ethertype_of(bool v4)
{
	return v4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

static __always_inline bool write_ethertype(ctx_t *ctx, bool v4)
{
	__be16 type = ethertype_of(v4);

	return ctx_store(ctx, offsetof(struct ethhdr, h_proto), &type, sizeof(type));
}

/*
 * Room for the outer header, behind Ethernet's. What came in encapsulated, and was taken apart, is still so to the
 * kernel, which then refuses to note it again: what it has noted of the inner headers fits, and the family is changed
 * by hand. That would spoil a GSO packet's type, but those were cut.
 */
static __always_inline bool make_room(ctx_t *ctx, bool inner_v4, bool outer_v4)
{
	__u32 size = header_size(outer_v4);
	__u64 encap = outer_v4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	long error = ctx_adjust_room(ctx, size, encap);

	if (error != ROOM_ALREADY)
		return !error;
	if (ctx_gso_size(ctx))
		return false;
	if (inner_v4 == outer_v4)
		return !ctx_adjust_room(ctx, size, 0);
	/* the kernel takes the difference of the headers away, or adds it, in front of what was there */
	return !ctx_adjust_room(ctx, header_size(inner_v4), 0) && ctx_change_family(ctx, ethertype_of(outer_v4));
}

/* Puts an outer header before the packet, from this node to the other. p stays what the inner packet is. */
__noinline int encapsulate(ctx_t *ctx, const struct packet *p, const ip_addr *to)
{
	const struct node *n = node_now();
	bool inner_v4, outer_v4;
	const ip_addr *from;
	__u32 octets;
	__u8 inner;

	if (!p || !to || !n)
		return DROP_NO_TUNNEL;
	inner_v4 = p->flags & PACKET_V4;
	outer_v4 = addr_is_v4(to);
	from = outer_v4 ? &n->addr4 : &n->addr6;
	if (addr_is_zero(from))
		return DROP_NO_TUNNEL;
	octets = p->l4 - L3 + p->length;
	inner = inner_v4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	if (!make_room(ctx, inner_v4, outer_v4) || !write_ethertype(ctx, outer_v4))
		return DROP_REWRITE;
	if (!(outer_v4 ? write_header_v4(ctx, from, to, octets, inner, IP_DF)
		       : write_header_v6(ctx, from, to, octets, inner)))
		return DROP_REWRITE;
	return DROP_NONE;
}

/* Is it what encapsulate() makes, on another node and for this one? All else of the kind is the stack's. */
static __always_inline bool is_encapsulated(const struct packet *p)
{
	const struct node *n = node_now();

	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT | PACKET_OTHER) || !n || !(n->flags & NODE_IPIP))
		return false;
	return is_ip_in_ip(p) && p->l4 == L3 + header_size(p->flags & PACKET_V4) && is_node_to_node(p);
}

/*
 * Takes the outer header off; p is then of the inner packet, which its node may send. Where the families differ the kernel makes the one header
 * the other's size, and knows the packet as the other's from then on (BPF_F_ADJ_ROOM_DECAP_L3_* are Linux 6.3's).
 */
__noinline int decapsulate(ctx_t *ctx, struct packet *p)
{
	bool inner_v4, outer_v4;
	enum drop_reason why;
	__s32 size;
	struct scratch *work = scratch();

	if (!p || !work)
		return DROP_REWRITE;
	work->outer.src = p->src;
	outer_v4 = p->flags & PACKET_V4;
	inner_v4 = p->protocol == IPPROTO_IPIP;
	size = header_size(inner_v4);
	if (p->length < (__u32)size)
		return DROP_SHORT_PACKET;
	if (inner_v4 != outer_v4 && !ctx_change_family(ctx, ethertype_of(inner_v4)))
		return DROP_REWRITE;
	if (ctx_adjust_room(ctx, -size, 0) || !write_ethertype(ctx, inner_v4))
		return DROP_REWRITE;
	ctx_forget_hash(ctx); /* the outer header's is one for all flows of a node */
	memset(p, 0, sizeof(*p));
	why = parse(ctx, p);
	return why ? why : check_inner(&work->outer.src);
}

#endif
