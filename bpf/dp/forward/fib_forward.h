/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel's route, taken at once where its stack would do no more than that: the rules and routes let the packet
 * pass, it is not too large, and what answers it comes in by a device of ours. All else is for the stack, which fragments,
 * minds IPv4's options or tells the sender. A neighbour that is not known is asked for by the redirection itself, and the packet waits for it.
 */
#ifndef SLUICEWAY_FIB_FORWARD_H
#define SLUICEWAY_FIB_FORWARD_H

#include "dp/endpoint/fib.h"
#include "dp/endpoint/uplink.h"
#include "dp/forward/next_hop.h"
#include "dp/packet/parse.h"
#include "dp/packet/segment.h"

#define FLOWINFO bpf_htonl(0x0fffffff) /* of an IPv6 header's first word: traffic class and label */

/* Octets from the IP header on; of a GSO packet, those of the largest segment. */
static __always_inline __u32 network_length(const ctx_t *ctx, const struct packet *p)
{
	__u32 headers = segment_headers(ctx, p);

	if (!ctx_gso_size(ctx))
		return ctx_length(ctx) - L3;
	return headers ? headers - L3 + ctx_gso_size(ctx) : ~0U;
}

/* Has the stack options of IPv4 to look at, which may be to record a route or to name one? */
static __always_inline bool has_options(const struct packet *p)
{
	return p->flags & PACKET_V4 && p->l4 != L3 + sizeof(struct iphdr);
}

/* What the kernel's rules may ask of a packet. */
static __always_inline bool fib_question(const ctx_t *ctx, const struct packet *p, __u32 length,
					 struct bpf_fib_lookup *f)
{
	void *data = ctx_data(ctx);
	struct iphdr *ip4 = data + L3;
	struct ipv6hdr *ip6 = data + L3;

	f->ifindex = ctx_ifindex(ctx);
	f->l4_protocol = p->protocol;
	f->sport = p->sport;
	f->dport = p->dport;
	f->tot_len = length < 0xffff ? length : 0xffff;
	fib_addresses(f, &p->src, &p->dst);
	if (p->flags & PACKET_V4) {
		if ((void *)(ip4 + 1) > ctx_end(ctx))
			return false;
		f->tos = ip4->tos;
		return true;
	}
	if ((void *)(ip6 + 1) > ctx_end(ctx))
		return false;
	f->flowinfo = *(__be32 *)ip6 & FLOWINFO;
	return true;
}

/*
 * Asks for the next hop of a packet of so many octets. hop->mtu is the device's, or the route's where that is locked; 0:
 * the packet fits, and the kernel says no more of a neighbour that is not known.
 */
static __always_inline bool fib_next_hop(ctx_t *ctx, const struct packet *p, __u32 length, struct next_hop *hop)
{
	struct bpf_fib_lookup f = {};
	long code;

	if (!fib_question(ctx, p, length, &f))
		return false;
	code = ctx_fib_lookup(ctx, &f, 0);
	if (code != BPF_FIB_LKUP_RET_SUCCESS && code != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	hop->ifindex = f.ifindex;
	hop->mtu = code == BPF_FIB_LKUP_RET_SUCCESS ? f.mtu_result : 0;
	fib_via(&f, &hop->via);
	return true;
}

/* Does a program of ours see what leaves by the device, and what answers it? */
static __always_inline bool is_device_ours(__u32 ifindex)
{
	const struct node *n = node_now();

	return uplink_find(ifindex) || (n && ifindex == n->tunnel_ifindex);
}

/*
 * Sends it to the route's next hop, whom the kernel keeps asking for; cached: its flow, which remembers the next hop for
 * a moment. any_device: what answers a flow that came in past the stack leaves so whatever the device, else only by an
 * uplink or the tunnel's. Sets *verdict when that is so.
 */
__noinline int fib_forward(ctx_t *ctx, const struct packet *p, __u32 cached, bool any_device, int *verdict)
{
	struct next_hop hop = {};
	__u32 length;

	if (!p || !verdict || has_options(p))
		return false;
	length = network_length(ctx, p);
	if (!next_hop_find(cached, &hop)) {
		if (!fib_next_hop(ctx, p, length, &hop) || !(any_device || is_device_ours(hop.ifindex)))
			return false;
		if (hop.mtu)
			next_hop_keep(cached, &hop);
	}
	if (hop.mtu && length > hop.mtu)
		return false;
	*verdict = bpf_redirect_neigh(hop.ifindex, &hop.via, sizeof(hop.via), 0);
	return true;
}

#endif
