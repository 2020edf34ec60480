/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hands a packet over to where it goes: a pod of this node, another node, out by the kernel's routes, or the node itself. */
#ifndef SLUICEWAY_DELIVER_H
#define SLUICEWAY_DELIVER_H

#include "dp/endpoint/enter.h"
#include "dp/endpoint/limit.h"
#include "dp/forward/fib_forward.h"
#include "dp/forward/leave.h"
#include "dp/tunnel/divide.h"
#include "dp/tunnel/dsr.h"
#include "dp/tunnel/geneve.h"
#include "dp/tunnel/tunnel.h"
#include "dp/packet/rewrite.h"

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
 * Is it divided where it comes in by the tunnel's device? By the stack, which fragments of what it forwards IPv4 alone; by our own
 * program, of IPv6, what a process of this node sends: of others' packets nobody on their way may make fragments (RFC 8200 5).
 */
static __always_inline bool is_divided(const ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	const struct iphdr *ip = ctx_data(ctx) + L3;

	if (p->flags & PACKET_V4)
		return (void *)(ip + 1) <= ctx_end(ctx) && !(ip->frag_off & bpf_htons(IP_DF));
	return to->hook == HOOK_UPLINK_EGRESS && is_divided_here(ctx, p);
}

/*
 * In by the tunnel's device, which takes packets under our own addresses, and out by it. The stack's other refusals it would tell
 * this node's address, which is no help to the sender.
 */
static __always_inline enum drop_reason route_fragments(ctx_t *ctx, const struct packet *p, int *verdict)
{
	const mac_addr from = TUNNEL_SOURCE_MAC, to = NODE_MAC;
	const struct node *n = node_now();
	struct scratch *work = scratch();

	if (!n || !work)
		return DROP_REWRITE;
	work->forward.mtu = 0;
	/* the stack knows no way to who is outside but its own, and nothing of what DSR tells */
	if (work->forward.is_forwarded || !is_divided(ctx, p, &work->forward))
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
 * Has a GSO packet to be cut before it leaves? The kernel makes no room for a header of ours before SCTP's. Of datagrams that a process of
 * the node was to send by a device which sums nothing up it does not say that their sum is left to others, and behind a header of ours
 * makes it wrong.
 */
static __always_inline bool needs_segmenter(ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	const struct node *n = node_now();

	if (!ctx_gso_size(ctx))
		return false;
	if (to->was_encapsulated || !n || !(n->flags & NODE_IPIP) || to->hop != HOP_TUNNEL)
		return to->was_encapsulated;
	return p->protocol == IPPROTO_SCTP || (p->protocol == IPPROTO_UDP && to->hook == HOOK_UPLINK_EGRESS);
}

/*
 * Is it too large for the pod's device? The node's stack made it for the device by which it was to leave, which may carry
 * more, as loopback does. What came in enters the pod past it, but for one with AF_XDP, whose device carries what a frame of the
 * application's takes.
 */
static __always_inline bool exceeds_pod_mtu(ctx_t *ctx, __u32 ifindex)
{
	struct scratch *work = scratch();

	/* a device that is gone has none */
	return work && !ctx_fits(ctx, ifindex, &work->forward.mtu) && work->forward.mtu;
}

/* To the pod: past its own hook where the packet came in by a device, else by the pod's device as the stack does. */
static __always_inline enum drop_reason deliver_to_pod(ctx_t *ctx, const struct forward *to, bool came_in, int *verdict)
{
	const mac_addr from = NODE_MAC;

	*verdict = came_in ? enter_pod(ctx, to->ifindex, to->is_af_xdp) : bpf_redirect(to->ifindex, 0);
	return write_macs(ctx, &from, &to->mac);
}

/* To the other node's tunnel. What the stack has routed there is on the tunnel's device already, but for IPIP's. */
static __always_inline enum drop_reason deliver_to_tunnel(ctx_t *ctx, const struct packet *p, const struct forward *to,
							  int *verdict)
{
	const mac_addr from = TUNNEL_SOURCE_MAC, node_mac = NODE_MAC;
	const struct node *n = node_now();
	enum drop_reason why = write_macs(ctx, &from, &node_mac);
	int redirected = 0;

	if (!why && to->asked_port)
		dsr_write(ctx);
	if (!why)
		why = route_tunnel(ctx, p, to->peer.remote_id, &redirected);
	if (n && (to->hook != HOOK_TUNNEL_EGRESS || n->flags & NODE_IPIP))
		*verdict = redirected;
	return why;
}

/* Did the packet come in by a device: from a pod, or from outside? Else this node's stack sends it. */
static __always_inline bool has_come_in(const struct forward *to)
{
	return to->hook == HOOK_POD_INGRESS || to->hook == HOOK_UPLINK_INGRESS;
}

/* Is the limit of a pod that sends or is sent kept? Each packet is charged once on each side. */
static __always_inline enum drop_reason charge(ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	struct scratch *work = scratch();
	enum drop_reason why = DROP_NONE;

	if (!work || !limits_have(NODE_LIMITS))
		return DROP_NONE;
	if (to->hook == HOOK_POD_EGRESS)
		return limit_ingress(ctx, p, to->peer.slot);
	if (to->hook == HOOK_POD_INGRESS)
		why = limit_egress(ctx, p, work->sender.slot, to->hop != HOP_POD && to->hop != HOP_LOOP,
				   to->hop == HOP_TUNNEL ? to->peer.remote_id : 0);
	/* past the pod's own hook, which would have charged it */
	if (!why && to->hop == HOP_POD && has_come_in(to))
		why = limit_ingress(ctx, p, to->peer.slot);
	return why;
}

/*
 * Hands the packet over; sets *verdict when it does not go to the stack. What came in by a device has made a hop, so its TTL
 * is one less; what this node's stack sends has not. Only the former can enter a pod directly.
 */
static __always_inline enum drop_reason deliver(ctx_t *ctx, const struct packet *p, const struct forward *to,
						int *verdict)
{
	bool came_in = has_come_in(to);
	enum drop_reason why = charge(ctx, p, to);

	if (why || to->hop == HOP_STACK)
		return why;
	if (to->hop == HOP_LOOP)
		return route_loop(ctx, verdict);
	if ((!came_in || to->is_af_xdp) && to->hop == HOP_POD && exceeds_pod_mtu(ctx, to->ifindex))
		return DROP_TOO_BIG;
	if (to->hop == HOP_FRAGMENTS)
		return route_fragments(ctx, p, verdict);
	if (to->hop == HOP_FIB && !fib_forward(ctx, p, to->cached, to->came_past_stack, verdict))
		return DROP_NONE;
	if (came_in)
		why = write_hop(ctx, p);
	if (why || to->hop == HOP_FIB)
		return why;
	if (to->hop == HOP_POD)
		return deliver_to_pod(ctx, to, came_in, verdict);
	if (needs_segmenter(ctx, p, to))
		return route_segmenter(verdict);
	if (to->hop == HOP_OUT)
		return leave(ctx, p, to, verdict);
	return deliver_to_tunnel(ctx, p, to, verdict);
}

#endif
