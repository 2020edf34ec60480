/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the node itself sends, or a pod by the node's stack: its flow, and the answers of services that the node gave. */
#ifndef SLUICEWAY_SENT_H
#define SLUICEWAY_SENT_H

#include "dp/conntrack/flow_move.h"
#include "dp/forward/other_proxy.h"
#include "dp/reply/known.h"
#include "dp/service/listener.h"
#include "dp/tunnel/tunnel.h"

/* Does the node itself send this: under an address of its own, or from loopback to loopback? */
static __always_inline bool is_from_node(const struct packet *p)
{
	return addr_is_loopback(&p->src) ? addr_is_loopback(&p->dst) : addr_is_node(&p->src);
}

/* Begins a flow to a service; as ct_begin(). */
static __always_inline enum drop_reason begin(ctx_t *ctx, struct scratch *work, const struct service *s, bool external,
					      struct flow **f)
{
	location_of(&work->packet.src, &work->sender);
	return ct_begin(ctx, work, s, external, f);
}

/* The flow of what the node itself sends, or a pod by its stack, found, or begun; NULL: it has none. Sets *why it cannot go on. */
static __noinline struct flow *flow_sent(ctx_t *ctx, struct scratch *work, enum drop_reason *why)
{
	const struct packet *p = &work->packet;
	struct flow *f = ct_update(work, ct_find(work));
	struct service *s;

	if (f)
		return f;
	if (work->forward.is_left) {
		*why = begin_left(ctx, work, &f);
		return f;
	}
	if (work->ct.is_beside) /* the node's own flows have no entries: nothing says which of two came first */
		return NULL;
	s = service_for(ctx, p);
	if (s && flow_may_come(p)) {
		*why = DROP_FLOW_MOVES;
		return f;
	}
	if (s) {
		*why = begin(ctx, work, s, false, &f);
		return f;
	}
	location_of(&p->dst, &work->forward.peer);
	if (!has_other_proxy() && is_asked_of_no_service(p, &work->forward.peer))
		*why = DROP_NO_SERVICE;
	else if (is_node_port(p->sport))
		*why = ct_keep(0); /* its answers are for the node's own socket, whatever service has the port */
	return f;
}

/*
 * Lets a datagram of the node's own be fragmented that fits the route to the service and not the tunnel to the backend, as the
 * stack would have done for that way; unless its socket forbids it.
 */
static __noinline void divide_for_tunnel(ctx_t *ctx, struct packet *p)
{
	struct iphdr *ip = ctx_data(ctx) + L3;
	__be16 fragment;

	if (!(p->flags & PACKET_WHOLE) || !ctx_is_divisible(ctx) || fits_tunnel(ctx))
		return;
	p->flags &= ~PACKET_WHOLE;
	if (!(p->flags & PACKET_V4) || (void *)(ip + 1) > ctx_end(ctx))
		return;
	fragment = ip->frag_off & ~bpf_htons(IP_DF);
	ip->check = csum_update(ip->check, csum_replace(0, ip->frag_off, fragment));
	ip->frag_off = fragment;
}

/* The node's own answer for a service, and its errors about one, get the service's address back; and pods' flows begin. */
static __always_inline enum drop_reason translate_sent(ctx_t *ctx, struct scratch *work)
{
	struct packet *p = &work->packet;
	struct flow *f;

	if (p->flags & PACKET_OTHER)
		return DROP_NONE;
	if (is_from_node(p))
		return translate_known(ctx, work, &f);
	return find_left() ? leave_by_tunnel() : DROP_NONE;
}

#endif
