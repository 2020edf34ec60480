/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * XDP's way on: a packet that passes through this node is translated and leaves by the device that it came in by. Whether it can
 * is found out before anything in it is changed; what cannot goes untouched to tc, which alone knows reasons and tells senders.
 */
#ifndef SLUICEWAY_SEND_BACK_H
#define SLUICEWAY_SEND_BACK_H

#include "dp/conntrack/flow_move.h"
#include "dp/conntrack/nat_beyond.h"
#include "dp/endpoint/own_mac.h"
#include "dp/forward/known_way.h"
#include "dp/forward/neighbor_turn.h"
#include "dp/forward/outside.h"

/*
 * Is it a whole packet of TCP or UDP in one buffer, with a hop left, and nothing before its ports that the stack has to look at:
 * IPv4's options, IPv6's extension headers?
 */
static __always_inline bool is_plain(const ctx_t *ctx, const struct scratch *work)
{
	const struct packet *p = &work->packet;
	__u32 header = p->flags & PACKET_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	if (!(p->flags & PACKET_L4) || p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return false;
	return (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP) && p->l4 == L3 + header && p->ttl > 1 &&
	       ctx_has_linear(ctx, work->forward.octets);
}

/* Begins the flow of a packet to a service that passes through; NULL: there is none, or it does not. */
static __noinline struct flow *begin_through(ctx_t *ctx, struct scratch *work)
{
	const struct packet *p = &work->packet;
	struct service *s = service_find(&p->dst, p->dport, p->protocol, SCOPE_EXTERNAL);

	if (!s || !s->backends || s->flags & SERVICE_TUNNEL || flow_may_come(p) || !is_to_own_mac(ctx))
		return NULL;
	if (is_own_source(work, NULL) || !is_beyond(&work->sender)) /* the former finds work->sender */
		return NULL;
	return nat_begin_beyond(ctx, s) ? &work->flow : NULL; /* and its way, see is_way_found() */
}

/*
 * The flow of a packet that passes through, up to date; NULL: it is tc's. Of a flow that is current and tc's nothing is noted
 * here, nor of one beside another's answers.
 */
static __always_inline struct flow *flow_through(ctx_t *ctx, struct scratch *work)
{
	struct flow *f = ct_find(work);
	enum drop_reason why = DROP_NONE;

	if (work->ct.is_beside)
		return NULL;
	if (!f) {
		work->forward.begins = true;
		return begin_through(ctx, work);
	}
	if (!flow_translates(f, work->ct.src_hi) || (work->ct.is_current && !passes_through(work, f)))
		return NULL;
	if (work->ct.cached !=
	    CACHE_NONE) /* a copy that holds: who sends is known to be beyond, and nothing is to be noted */
		return f;
	f = update_from_outside(work, f, &why);
	return f && !why && !work->ct.why && passes_through(work, f) ? f : NULL;
}

/* Is the frame for the device itself, whose MAC its way back has? What else a device hears of is the stack's to judge. */
static __always_inline bool is_for_device(const ctx_t *ctx, const struct bpf_fib_lookup *way)
{
	const struct ethhdr *eth = ctx_data(ctx);

	return (void *)(eth + 1) <= ctx_end(ctx) &&
	       mac_equal((const mac_addr *)eth->h_dest, (const mac_addr *)way->smac);
}

/*
 * Was the way of a flow that begins found with its source, and is it whole: with a neighbour, and for the backend that it has in
 * the end, which another CPU may have chosen? Nobody else has asked for a way since.
 */
static __always_inline bool is_way_found(const struct scratch *work)
{
	const struct bpf_fib_lookup *way = &work->route;
	const mac_addr nobody = {};

	return work->forward.begins && work->forward.way == (__u16)way->ifindex &&
	       !mac_equal((const mac_addr *)way->dmac, &nobody) &&
	       addr_equal(&work->inner.dst, &work->pair.mapping.dst);
}

/*
 * Asks the kernel for the way of what the packet is translated to, of this size. False: it does not say, or the neighbour is to be
 * asked for.
 */
static __noinline bool ask_way(ctx_t *ctx, struct scratch *work)
{
	struct bpf_fib_lookup *way = &work->route;
	const struct packet *p = &work->packet;

	if (!is_way_found(work) &&
	    fib_ask(ctx, way_source(work, p), &work->inner.dst, p->protocol, way) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	if (is_neighbors_turn((const mac_addr *)way->dmac))
		return false;
	known_way_keep(way_source(work, p), &work->inner.dst, p->protocol, way);
	return true;
}

/*
 * Finds the packet's way, into work->route. False: it does not lead back by the device, the flow has its source by another, or the
 * packet does not fit it.
 */
static __always_inline bool find_way_back(ctx_t *ctx, struct scratch *work)
{
	const struct bpf_fib_lookup *way = &work->route;
	const struct packet *p = &work->packet;

	if (!known_way_find(way_source(work, p), &work->inner.dst, p->protocol, &work->route) && !ask_way(ctx, work))
		return false;
	if (work->forward.way && work->forward.way != (__u16)way->ifindex)
		return false;
	return way->ifindex == ctx_ifindex(ctx) && work->forward.octets - L3 <= way->mtu_result &&
	       is_for_device(ctx, way);
}

/* Sends it back translated by its flow, one hop further. Returns why it cannot go on, now that it is changed. */
static __always_inline enum drop_reason send_back(ctx_t *ctx, struct scratch *work)
{
	const struct bpf_fib_lookup *way = &work->route;
	struct packet *p = &work->packet;
	enum drop_reason why = rewrite(ctx, p, &work->inner);

	if (!why)
		why = write_hop(ctx, p);
	return why ? why : write_macs(ctx, (const mac_addr *)way->smac, (const mac_addr *)way->dmac);
}

#endif
