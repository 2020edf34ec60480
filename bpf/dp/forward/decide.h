/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a packet goes next, decided once for every hook: by its flow where it has one, else by its destination. */
#ifndef SLUICEWAY_DECIDE_H
#define SLUICEWAY_DECIDE_H

#include "dp/conntrack/nat.h"
#include "dp/tunnel/dsr.h"
#include "dp/tunnel/mss.h"
#include "dp/tunnel/tunnel.h"

/*
 * How a translated packet goes to another node. What is too large for the tunnel its device sends in outer fragments,
 * where it may be divided at all; those of our own header's the other end could not take apart, so the packet itself is
 * fragmented.
 */
static __always_inline enum hop hop_to_remote(ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	const struct node *n = node_now();
	bool fits = to->asked_port ? fits_tunnel_dsr(ctx, p) : fits_tunnel(ctx);

	if (!n || fits || !(n->flags & NODE_IPIP || p->flags & PACKET_WHOLE))
		return HOP_TUNNEL;
	return HOP_FRAGMENTS;
}

/*
 * The same of a pod's own packet: the stack tells the pod the tunnel's MTU, or fragments, where it knows the way; as it does not to
 * a client of another node.
 */
static __always_inline enum hop hop_to_remote_from_pod(ctx_t *ctx, const struct forward *to)
{
	if (fits_tunnel(ctx))
		return HOP_TUNNEL;
	return to->is_forwarded ? HOP_FRAGMENTS : HOP_STACK;
}

/*
 * A pod's own packet that is for no pod of this node. What answers it comes in past the stack, or it answers what did: so
 * it takes the kernel's route past the stack, whose firewall and connection tracking would see one half of a connection.
 */
static __always_inline enum hop hop_from_pod(ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	const struct node *n = node_now();

	if (remote_is_tunnel(to->peer.remote_id))
		return hop_to_remote_from_pod(ctx, to);
	/* what answers the node has a source from elsewhere, which a bridge's or another plugin's device may refuse */
	if (to->is_translated && addr_is_here(&p->dst))
		return addr_is_here(&p->src) || (to->is_chained && to->is_renamed) ? HOP_LOOP : HOP_STACK;
	if (to->is_renamed)
		return HOP_OUT;
	if (to->is_chained || to->is_by_stack || to->peer.remote_id == REMOTE_SELF || is_service_address(&to->peer) ||
	    !n || n->flags & NODE_HOST_ROUTING)
		return HOP_STACK; /* a service's address there is another proxy's */
	return HOP_FIB;
}

/* What comes in or leaves by a device of the node, and was translated. */
static __always_inline enum hop hop_of_service(ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	if (addr_is_here(&p->dst)) /* the stack takes its own packets by the loopback device alone */
		return to->hook == HOOK_UPLINK_EGRESS || addr_is_here(&p->src) ? HOP_LOOP : HOP_STACK;
	if (to->is_answer || (to->is_by_stack && to->hook == HOOK_UPLINK_INGRESS))
		return HOP_STACK;
	return remote_is_tunnel(to->peer.remote_id) ? hop_to_remote(ctx, p, to) : HOP_OUT;
}

/* to: the hook, where the destination is, and whether the packet was translated. */
static __always_inline enum hop decide(ctx_t *ctx, const struct packet *p, const struct forward *to)
{
	if (to->ifindex)
		return HOP_POD;
	switch (to->hook) {
	case HOOK_POD_INGRESS:
		return hop_from_pod(ctx, p, to);
	case HOOK_UPLINK_INGRESS:
	case HOOK_UPLINK_EGRESS:
		return to->is_translated ? hop_of_service(ctx, p, to) : HOP_STACK;
	case HOOK_TUNNEL_INGRESS:
		return remote_is_tunnel(to->peer.remote_id) ? HOP_TUNNEL : HOP_OUT;
	case HOOK_TUNNEL_EGRESS:
		return HOP_TUNNEL;
	case HOOK_POD_EGRESS:
	case HOOK_XDP:
		return HOP_STACK;
	}
	return HOP_STACK;
}

/*
 * Does a segment that opens a connection pass the tunnel, or its answer, or those that it invites? Then it may not promise too much.
 */
static __always_inline enum drop_reason clamp_mss(ctx_t *ctx, const struct packet *p, const struct forward *to,
						  const struct flow *f)
{
	if (!(p->flags & PACKET_OPENS) || p->protocol != IPPROTO_TCP)
		return DROP_NONE;
	if (remote_is_tunnel(to->peer.remote_id) ||
	    (f &&
	     (f->flags & FLOW_DSR || remote_is_tunnel(f->ends[0].remote_id) || remote_is_tunnel(f->ends[1].remote_id))))
		return mss_clamp(ctx, p);
	return DROP_NONE;
}

/* Is the packet one that a device of the node's translated, which another CNI plugin's network then has nothing to do with? */
static __always_inline bool is_served_at_uplink(const struct forward *to)
{
	return to->is_translated && (to->hook == HOOK_UPLINK_INGRESS || to->hook == HOOK_UPLINK_EGRESS);
}

/*
 * The pod's device where a packet goes; none where it is for no pod of this node, for one that has just gone, or for one that
 * others deliver to.
 */
static __always_inline void find_device(struct forward *to)
{
	const struct attachment *a = to->is_by_stack ? NULL : location_attachment(&to->peer);

	if (!a)
		return;
	if (a->flags & ATTACHMENT_CHAINED && !is_served_at_uplink(to)) {
		to->is_chained = true;
		return;
	}
	to->ifindex = a->ifindex;
	to->is_af_xdp = a->flags & ATTACHMENT_AF_XDP;
	to->mac = a->mac;
}

/* Finds where a packet without a flow goes; an ICMP error goes against what it quotes, whose flow may lead elsewhere than routes do. */
__noinline int find_peer(void)
{
	struct scratch *work = scratch();

	if (!work)
		return false;
	if (work->forward.is_about_flow && work->found.flags & FLOW_TUNNEL)
		work->forward.peer = work->found.ends[work->quote.src_hi & 1];
	else
		location_of(&work->packet.dst, &work->forward.peer);
	return true;
}

/* Finds where a packet's destination is, and translates it by its flow; without a flow (NULL) it stays what it is. */
static __always_inline enum drop_reason follow_flow(ctx_t *ctx, struct scratch *work, const struct flow *f)
{
	struct forward *to = &work->forward;
	struct packet *p = &work->packet;
	enum drop_reason why = DROP_NONE;

	if (f) {
		to->peer = *flow_destination(f, work->ct.src_hi);
		to->is_by_stack = f->flags & FLOW_BY_STACK;
		to->is_forwarded = f->flags & FLOW_TUNNEL;
		to->came_past_stack = f->flags & FLOW_EXTERNAL && !to->is_by_stack;
		to->cached = work->ct.cached;
		why = ct_translate(ctx, work, f);
	} else {
		find_peer();
		to->cached = CACHE_NONE;
	}
	find_device(to);
	return why ? why : clamp_mss(ctx, p, to, f);
}

#endif
