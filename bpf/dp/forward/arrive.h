/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What comes in by a device of the node: without its outer header, with the flow that it begins, or what becomes of it without. */
#ifndef SLUICEWAY_ARRIVE_H
#define SLUICEWAY_ARRIVE_H

#include "dp/conntrack/flow_move.h"
#include "dp/forward/other_proxy.h"
#include "dp/forward/outside.h"
#include "dp/tunnel/ipip.h"
#include "dp/tunnel/tunnel_key.h"

/* Does it come in by the device that has taken outer headers off? */
static __always_inline bool is_from_tunnel(const ctx_t *ctx)
{
	const struct node *n = node_now();

	return n && n->tunnel_port && n->tunnel_ifindex == ctx_ifindex(ctx);
}

/* Is what could not be read whole for an address of services? The stack would send it back to the router that it came from. */
static __noinline bool is_unread_for_service(struct scratch *work)
{
	if (!serves_outside() || has_other_proxy())
		return false;
	location_of(&work->packet.dst, &work->forward.peer);
	return is_service_address(&work->forward.peer);
}

/*
 * What comes in, without its outer header where another node encapsulated it. That must be readable and the node's own to
 * send; what is not encapsulated and not readable goes unread to the stack, without PACKET_* flags.
 */
static __always_inline enum drop_reason arrive(ctx_t *ctx, struct scratch *work)
{
	struct packet *p = &work->packet;
	enum drop_reason why = parse(ctx, p);

	if (is_from_tunnel(ctx))
		return why ? why : check_tunnelled(ctx);
	if (why && why != DROP_MAPPED_ADDRESS) {
		if (is_unread_for_service(work))
			return why;
		p->flags = PACKET_OTHER;
		return DROP_NONE;
	}
	if (why || !is_encapsulated(p))
		return why;
	work->forward.was_encapsulated = true;
	return decapsulate(ctx, p);
}

/* The flow that begins with what comes in, to a service; NULL: it has none. Sets *why it cannot go on. */
static __noinline struct flow *begin_from_outside(ctx_t *ctx, struct scratch *work, enum drop_reason *why)
{
	const struct packet *p = &work->packet;
	struct service *s = service_find(&p->dst, p->dport, p->protocol, SCOPE_EXTERNAL);
	struct flow *f = NULL;

	if (is_late_beside(work) || !(s || work->ct.is_beside))
		return NULL;
	if (is_own_source(work, NULL)) /* finds work->sender */
		*why = DROP_OWN_SOURCE;
	else if (flow_may_come(p))
		*why = DROP_FLOW_MOVES;
	else if (work->ct.is_beside)
		*why = ct_source(ctx, work, FLOW_EXTERNAL, &f);
	else if (s)
		*why = ct_begin(ctx, work, s, true, &f);
	return f;
}

/*
 * Does a load balancer ask the node itself, under an address that services have? The node's answers look like what is asked of a
 * service, and are told from it by the flow.
 */
static __always_inline bool is_balancer_asking(const struct scratch *work)
{
	return work->sender.remote_id == REMOTE_EXTERNAL_IP && work->forward.peer.remote_id == REMOTE_SELF &&
	       work->packet.flags & PACKET_PORTS && !work->ct.is_beside;
}

/* Without a flow: to a pod of ours, to a service's address that leads nowhere, or not ours. */
static __always_inline enum drop_reason keep_from_outside(struct scratch *work)
{
	if (is_service_address(&work->forward.peer) && !work->forward.is_translated)
		return has_other_proxy() ? DROP_NONE : DROP_NO_SERVICE;
	if (flow_may_come(&work->packet) && (work->forward.ifindex || is_nat_port(work->packet.dport)))
		return DROP_FLOW_MOVES;
	if (!work->forward.ifindex) /* the one who sends it has been looked for */
		return is_balancer_asking(work) ? ct_keep(FLOW_EXTERNAL) : DROP_NONE;
	if (is_own_source(work, NULL)) /* finds work->sender */
		return DROP_OWN_SOURCE;
	if (work->packet.flags & PACKET_PORTS && !work->ct.is_beside)
		return ct_keep_outside(work, FLOW_EXTERNAL);
	return work->forward.is_about_flow ? DROP_NONE : policy_check_packet();
}

#endif
