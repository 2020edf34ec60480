/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Flows of who is outside to a pod here, that another node sends on under the client's own address (docs/decisions/0052-forwarding.md).
 * Their entry says where answers go: back to that node, which undoes its translation; or, where it told which service was asked, to
 * the client itself, as from the service.
 */
#ifndef SLUICEWAY_FORWARDED_H
#define SLUICEWAY_FORWARDED_H

#include "dp/conntrack/conntrack.h"
#include "dp/conntrack/flow_move.h"

/* Does the flow answer as the node wants it that sends the packet? One that tells no service leaves what another packet told. */
static __always_inline bool is_as_forwarded(const struct scratch *work, const struct flow *f)
{
	const struct forward *to = &work->forward;

	if (f->flags & FLOW_DSR)
		return !to->asked_port || (to->asked_port == f->to_sport && addr_equal(&work->asked, &f->to_src));
	return !to->asked_port && f->flags & FLOW_TUNNEL && f->ends[work->ct.src_hi & 1].remote_id == to->via;
}

/* The flow that begins with a packet that another node sends on, in work->flow, as yet without ends but the node. */
static __always_inline struct flow *forwarded_flow(struct scratch *work)
{
	const struct forward *to = &work->forward;
	const struct packet *p = &work->packet;
	__u32 src_hi = work->ct.src_hi & 1;
	struct flow *f;

	if (!to->asked_port) {
		f = flow_fresh(work, &work->key, FLOW_EXTERNAL | FLOW_TUNNEL, src_hi);
		f->ends[src_hi].remote_id = to->via;
		return f;
	}
	f = flow_fresh(work, &work->key, FLOW_EXTERNAL | FLOW_REVERSE | FLOW_DSR, src_hi);
	f->to_src = work->asked;
	f->to_dst = p->src;
	f->to_sport = to->asked_port;
	f->to_dport = p->sport;
	return f;
}

/*
 * Begins the flow of a packet that another node sends on, where there is none, in place of one that answered otherwise, which is in
 * work->found. Returns why it cannot; else it is in work->flow.
 */
__noinline int forwarded_begin(void)
{
	struct scratch *work = scratch();
	enum drop_reason why;
	struct flow *f;

	if (!work)
		return DROP_CONNTRACK_FULL;
	if (flow_may_come(&work->packet))
		return DROP_FLOW_MOVES;
	f = forwarded_flow(work);
	ct_refresh_ends(&work->key, f);
	why = ct_judge(&work->key, f);
	if (why)
		return why;
	if (work->packet.flags & PACKET_RST)
		f->flags |= FLOW_RESET;
	/* without an entry answers would leave as the pod's own */
	return ct_store(work, f);
}

/* The flow of a packet that another node sends on, of which f was found (NULL: none). Sets *why it cannot go on. */
static __always_inline struct flow *forwarded_follow(struct scratch *work, struct flow *f, enum drop_reason *why)
{
	if (f && is_as_forwarded(work, f))
		return f;
	if (f)
		ct_end(work);
	*why = forwarded_begin();
	return *why ? NULL : &work->flow;
}

#endif
