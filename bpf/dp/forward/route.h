/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hands a judged packet on: to a pod of this node, out by the kernel's routes, or to the node itself. */
#ifndef SLUICEWAY_ROUTE_H
#define SLUICEWAY_ROUTE_H

#include "dp/endpoint/limit.h"
#include "dp/forward/fib_forward.h"
#include "dp/tunnel/geneve.h"
#include "dp/tunnel/tunnel.h"
#include "dp/packet/rewrite.h"

/* Where a packet goes next. */
enum hop {
	HOP_STACK,     /* on, to the kernel's stack or the next program on the hook */
	HOP_POD,       /* the pod behind struct forward's peer */
	HOP_TUNNEL,    /* the node where the peer is, by the device that encapsulates */
	HOP_FRAGMENTS, /* that node too, in fragments that the stack makes: our own header leaves it too large */
	HOP_FIB,       /* by the kernel's route past its stack, where that is as good; else to the stack */
	HOP_OUT,    /* by the kernel's route for the destination, past the stack: it refuses our own source addresses */
	HOP_LOOP,   /* from this node to this node: in by the loopback device */
	HOP_QUEUED, /* nowhere now: a fragment that waits, or comes again with those that waited for it */
};

struct forward {
	enum hop hop;
	struct peer_location peer;
	__u32 copy;	       /* of its flow, see struct ct_ctx; wanted for HOP_FIB */
	bool was_encapsulated; /* it came in under a header of ours */
};

enum { LOOPBACK_IFINDEX = 1 };

/* In by the loopback device, which takes what is for its own MAC: zeros. Any other is somebody else's packet. */
static __always_inline enum drop_reason route_loop(ctx_t *ctx, int *verdict)
{
	const mac_addr from = NODE_MAC, to = {};
	enum drop_reason why = write_macs(ctx, &from, &to);

	if (!why)
		*verdict = bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	return why;
}

/*
 * How a translated packet goes to another node. What is too large for the tunnel its device sends in outer fragments,
 * where it may be divided at all; those of our own header's the other end could not take apart, so the packet itself is
 * fragmented.
 */
static __always_inline enum hop hop_to_remote(ctx_t *ctx, const struct packet *p)
{
	const struct node *n = node_now();

	if (!n || fits_tunnel(ctx) || !(n->flags & NODE_IPIP || p->flags & PACKET_WHOLE))
		return HOP_TUNNEL;
	return HOP_FRAGMENTS;
}

/*
 * By the stack, which fragments what it forwards: in by the tunnel's device, which takes packets under our own addresses,
 * and out by it. Its other refusals it would tell this node's address, which is no help to the sender.
 */
static __always_inline enum drop_reason route_fragments(ctx_t *ctx, const struct packet *p, int *verdict)
{
	const mac_addr from = TUNNEL_SOURCE_MAC, to = NODE_MAC;
	const struct node *n = node_now();
	struct iphdr *ip = ctx_data(ctx) + L3;
	struct scratch *work = scratch();

	if (work)
		work->mtu = 0;
	if (!n || (void *)(ip + 1) > ctx_end(ctx))
		return DROP_REWRITE;
	if (!(p->flags & PACKET_V4) || ip->frag_off & bpf_htons(IP_DF))
		return DROP_TOO_BIG;
	*verdict = bpf_redirect(n->tunnel_ifindex, BPF_F_INGRESS);
	return write_macs(ctx, &from, &to);
}

/*
 * A GSO packet that came in under a header of ours is still marked as encapsulated (the kernel clears that in tunnel
 * devices alone): a NIC that can send such ones would take it for what it says, and it can not be encapsulated anew. By
 * a device that takes no GSO packets it becomes packets, which segment_ingress() sends on.
 */
static __always_inline enum drop_reason route_segmenter(int *verdict)
{
	const struct node *n = node_now();

	if (!n || !n->segmenter_ifindex)
		return DROP_NO_TUNNEL;
	*verdict = bpf_redirect(n->segmenter_ifindex, 0);
	return DROP_NONE;
}

/*
 * Is it too large for the pod's wire? The node's stack made it for the device by which it was to leave, which may carry
 * more, as loopback does. What came in enters the pod past the wire.
 */
static __always_inline bool exceeds_pod_mtu(ctx_t *ctx, __u32 ifindex)
{
	struct scratch *work = scratch();

	return work && !ctx_fits(ctx, ifindex, &work->mtu) && work->mtu; /* a wire that is gone has no MTU */
}

/*
 * Hands the packet over; sets *verdict when it does not go to the stack. What came in by a device (ingress) has made
 * a hop, so its TTL is one less; what this node's stack sends has not. Only the former can enter a pod directly.
 */
static __always_inline enum drop_reason deliver(ctx_t *ctx, const struct packet *p, const struct forward *to,
						bool ingress, int *verdict)
{
	const mac_addr node_mac = NODE_MAC, tunnel_mac = TUNNEL_SOURCE_MAC;
	enum drop_reason why = DROP_NONE;

	if (to->hop == HOP_STACK)
		return DROP_NONE;
	if (to->hop == HOP_LOOP)
		return route_loop(ctx, verdict);
	if (!ingress && to->hop == HOP_POD && exceeds_pod_mtu(ctx, to->peer.ifindex))
		return DROP_TOO_BIG;
	/* past the pod's own hook, which would have charged it */
	if (ingress && to->hop == HOP_POD)
		why = limit_to_pod(ctx, p, to->peer.ifindex);
	if (why)
		return why;
	if (to->hop == HOP_FRAGMENTS)
		return route_fragments(ctx, p, verdict);
	if (to->hop == HOP_FIB && !fib_forward(ctx, p, to->copy, verdict))
		return DROP_NONE;
	if (ingress)
		why = write_hop(ctx, p);
	if (why || to->hop == HOP_FIB)
		return why;
	if (to->hop != HOP_POD && to->was_encapsulated && ctx_gso_size(ctx))
		return route_segmenter(verdict);
	if (to->hop == HOP_OUT)
		return route_out(ctx, &p->src, &p->dst, p->protocol, verdict);
	if (to->hop == HOP_POD)
		why = write_macs(ctx, &node_mac, &to->peer.mac);
	else
		why = write_macs(ctx, &tunnel_mac, &node_mac);
	if (why)
		return why;
	if (to->hop == HOP_TUNNEL)
		return route_tunnel(ctx, p, to->peer.remote_id, verdict);
	*verdict = ingress ? bpf_redirect_peer(to->peer.ifindex, 0) : bpf_redirect(to->peer.ifindex, 0);
	return DROP_NONE;
}

#endif
