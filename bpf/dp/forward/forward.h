/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The parts of a packet's way that every hook shares: its flow, found or begun, and its translation. */
#ifndef SLUICEWAY_FORWARD_H
#define SLUICEWAY_FORWARD_H

#include "dp/packet/drop.h"
#include "dp/fragment/reorder.h"
#include "dp/reply/icmp.h"
#include "dp/tunnel/mss.h"
#include "dp/conntrack/nat.h"
#include "dp/reply/refuse.h"
#include "dp/forward/route.h"
#include "dp/reply/too_big.h"

/* Translates the packet if its flow is a translated one; p follows. peer is set to where the far end is. */
static __always_inline enum drop_reason ct_translate(ctx_t *ctx, struct packet *p, struct ct_ctx *ct,
						     struct peer_location *peer)
{
	struct flow *f = ct->flow;
	struct tuple t;

	*peer = f->ends[!ct->src_hi];
	if (!flow_translates(f, ct->src_hi))
		return DROP_NONE;
	t = (struct tuple){.src = f->to_src,
			   .dst = f->to_dst,
			   .sport = f->to_sport,
			   .dport = f->to_dport,
			   .protocol = p->protocol};
	ct->translated = true;
	return rewrite(ctx, p, &t);
}

/* Does a segment that opens a connection pass the tunnel, or its answer? Then it may not promise too much. */
static __always_inline enum drop_reason ct_clamp_mss(ctx_t *ctx, const struct packet *p, const struct ct_ctx *ct,
						     const struct peer_location *peer)
{
	const struct flow *f = ct->flow;

	if (!(p->flags & PACKET_OPENS))
		return DROP_NONE;
	if (remote_is_tunnel(peer->remote_id) ||
	    (f && (remote_is_tunnel(f->ends[0].remote_id) || remote_is_tunnel(f->ends[1].remote_id))))
		return mss_clamp(ctx, p);
	return DROP_NONE;
}

/*
 * Tells the sender of what is too large the MTU of the way on, by the device where the packet is; flags as
 * bpf_redirect()'s. Returns why the packet ends, which is another reason when nobody can be told. Sets *verdict when one is.
 */
static __always_inline enum drop_reason answer_too_big(ctx_t *ctx, struct packet *p, enum drop_reason why, __u64 flags,
						       int *verdict)
{
	struct scratch *work = scratch();

	if (why != DROP_TOO_BIG || !work)
		return why;
	if (!work->mtu)
		fits_tunnel_mtu(ctx, &work->mtu);
	if (!reply_too_big(ctx, p, work->mtu))
		return DROP_TOO_BIG_SILENT;
	*verdict = bpf_redirect(ctx_ifindex(ctx), flags);
	return why;
}

/* Is the verdict set for a packet that ends? */
static __always_inline bool is_answered(enum drop_reason why)
{
	return why == DROP_NO_BACKEND || why == DROP_TOO_BIG;
}

/*
 * Sends a service's refusal back by the device where the packet is; flags as bpf_redirect()'s. Returns why the packet
 * ends, which is another reason when no refusal can be made. Sets *verdict when one is.
 */
static __always_inline enum drop_reason answer_refused(ctx_t *ctx, const struct packet *p, enum drop_reason why,
						       __u64 flags, int *verdict)
{
	if (why != DROP_NO_BACKEND)
		return why;
	if (!refuse(ctx, p))
		return DROP_NO_BACKEND_SILENT;
	*verdict = bpf_redirect(ctx_ifindex(ctx), flags);
	return why;
}

/* Where a packet that we translated goes when its destination is no pod of this node. */
static __always_inline enum hop hop_of_translated(const struct packet *p)
{
	bool from_node = addr_is_here(&p->src);

	if (addr_is_here(&p->dst))
		return from_node ? HOP_LOOP : HOP_STACK;
	return from_node ? HOP_OUT : HOP_STACK;
}

#endif
