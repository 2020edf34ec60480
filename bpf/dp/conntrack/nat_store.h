/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Stores a NAT pair: the reverse entry under a source port that is free, then the forward one. */
#ifndef SLUICEWAY_NAT_STORE_H
#define SLUICEWAY_NAT_STORE_H

#include "dp/conntrack/conntrack.h"
#include "dp/conntrack/flow_move.h"
#include "dp/conntrack/nat_port.h"
#include "dp/service/listener.h"

/*
 * Stores the entry that answers will find. Never takes one that is in use by another flow.
 * Returns as flow_insert(). A function of its own, verified once.
 */
__noinline int nat_put_reverse(const struct packet *p, const struct nat_pair *pair)
{
	struct scratch *work = scratch();
	struct flow_key *key;
	struct flow *f;
	bool src_hi;

	if (!p || !pair || !work)
		return FLOW_EXISTS;
	key = &work->half;
	src_hi = tuple_key(&pair->mapping, key);
	f = flow_fresh(work, key, (pair->flags & ~FLOW_DSR) | FLOW_REVERSE, src_hi);
	f->ends[src_hi] = pair->client;
	f->ends[!src_hi] = pair->backend;
	f->to_src = p->dst;
	f->to_dst = p->src;
	f->to_sport = p->dport;
	f->to_dport = p->sport;
	return flow_insert(key, f, BPF_NOEXIST);
}

/*
 * Is what was found the same flow, of which another node told this one the service that was asked (docs/decisions/0052-forwarding.md)?
 * That node is gone, or the network spreads its clients anew, and this one goes on by us: it answers as the service either way.
 */
static __always_inline bool nat_goes_on(const struct scratch *work)
{
	const struct flow *old = &work->found;
	const struct packet *p = &work->packet;

	return old->flags & FLOW_DSR && old->to_sport == p->dport && old->to_dport == p->sport &&
	       addr_equal(&old->to_src, &p->dst);
}

/* Ends the flow that stands where the reverse entry is to be, if it is closed, or goes on as this one. Returns whether it has. */
__noinline int nat_end_other(void)
{
	struct scratch *work = scratch();
	struct flow_key *key;
	struct flow *old;

	if (!work)
		return false;
	key = &work->half;
	old = flow_find(key);
	if (!old || !flow_read(old, key, &work->found))
		return false;
	if ((!nat_goes_on(work) && !flow_is_closed(key->protocol)) || !ct_delete(key))
		return false;
	cache_void();
	return true;
}

/* As nat_put_reverse(), also in the place of a flow that is over, or that goes on as this one. */
static __always_inline int nat_store_reverse(const struct packet *p, struct scratch *work)
{
	int error = nat_put_reverse(p, &work->pair);

	return error == FLOW_EXISTS && nat_end_other() ? nat_put_reverse(p, &work->pair) : error;
}

/* Takes back what nat_store_reverse() has stored. */
static __noinline void nat_forget_reverse(struct scratch *work)
{
	flow_delete(&work->half);
}

/*
 * Another CPU has begun the same flow meanwhile: what it stored is taken, and our reverse entry goes. False: what is there is
 * no flow of this kind.
 */
static __always_inline bool nat_adopt(struct scratch *work)
{
	struct flow *entry = flow_find(&work->key), *f = &work->found;

	if (!entry || !flow_read(entry, &work->key, f) || !(f->flags & FLOW_FORWARD))
		return false;
	work->flow = *f;
	nat_forget_reverse(work);
	return true;
}

/* The forward entry, made of the reverse one that was left in the scratch. */
static __always_inline void nat_forward_flow(struct scratch *work)
{
	const struct nat_pair *pair = &work->pair;
	__u32 src_hi = work->ct.src_hi & 1;
	struct flow *f = &work->flow;

	f->serial = flow_serial_fresh(work, &work->key);
	f->flags = pair->flags | FLOW_FORWARD | (src_hi ? FLOW_ORIGIN_HI : 0);
	f->ends[src_hi] = pair->client;
	f->ends[!src_hi] = pair->backend;
	f->to_src = pair->mapping.src;
	f->to_dst = pair->mapping.dst;
	f->to_sport = pair->mapping.sport;
	f->to_dport = pair->mapping.dport;
	f->set_id = pair->set_id;
	f->set_revision = pair->set_revision;
	f->slot = pair->slot;
	f->way = pair->way;
}

/*
 * Stores the entry that the client's packets find, under the key that was found for this one; over one that is there, but for
 * another CPU's of the same flow. Returns as flow_insert().
 */
static __always_inline int nat_store_forward(struct scratch *work)
{
	int error;

	nat_forward_flow(work);
	work->place.own = 0; /* it was asked for both */
	error = flow_insert(&work->key, &work->flow, BPF_NOEXIST);
	if (error != FLOW_EXISTS)
		return error;
	if (nat_adopt(work))
		return 0;
	error = flow_insert(&work->key, &work->flow, BPF_ANY);
	cache_void();
	return error;
}

/* Stores the reverse entry under the source port of one try. Returns as flow_insert(); FLOW_EXISTS too where it is none for the flow. */
__noinline int nat_try_port(ctx_t *ctx, __u32 try)
{
	struct scratch *work = scratch();
	const struct packet *p;
	struct nat_pair *pair;
	int port;

	if (!work)
		return FLOWS_FULL;
	p = &work->packet;
	pair = &work->pair;
	port = nat_port(p, try);
	if (!port)
		return FLOW_EXISTS;
	pair->mapping.sport = port;
	if (p->flags & PACKET_ECHO)
		pair->mapping.dport = port;
	/* under a port of the node's own, towards the same server, both would be one flow */
	if (work->sender.remote_id != REMOTE_SELF && socket_gets_answers(ctx, &pair->mapping))
		return FLOW_EXISTS;
	return nat_store_reverse(p, work);
}

/* Stores the reverse entry under the first free source port. */
static __always_inline enum drop_reason nat_reserve_port(ctx_t *ctx)
{
	const struct node *n = node_now();

	if (!n || !n->nat_port_min) /* the node's own sockets, services and pods have them all */
		return DROP_NAT_PORTS;
	for (int i = 0; i < 2 * NAT_TRIES; i++) {
		int error = nat_try_port(ctx, i);

		if (error != FLOW_EXISTS)
			return share_reason(error);
	}
	return DROP_NAT_PORTS;
}

/*
 * Is it the node itself that is to answer while flows move? By a program that does not know the flow its answer would leave as it is,
 * as what is no flow's does.
 */
static __always_inline bool nat_waits(const struct scratch *work)
{
	return work->pair.backend.remote_id == REMOTE_SELF && flow_waits(&work->packet);
}

/* May the flow begin: who asks, as known by itself, and where it is sent? Finds where both are. */
__noinline int nat_judge(void)
{
	struct scratch *work = scratch();
	struct policy_question *q;
	const struct packet *p;
	struct nat_pair *pair;

	if (!work)
		return DROP_POLICY_UNKNOWN;
	pair = &work->pair;
	pair->client = work->sender;
	location_of(&pair->mapping.dst, &pair->backend);
	if (pair->flags & FLOW_TUNNEL)
		location_forward(&pair->mapping.dst, &pair->backend);
	if (nat_waits(work))
		return DROP_FLOW_MOVES;
	if (!policy_concerns(&pair->client, &pair->backend))
		return DROP_NONE;
	p = &work->packet;
	q = &work->question;
	q->client = p->src;
	q->server = pair->mapping.dst;
	q->client_at = pair->client;
	q->server_at = pair->backend;
	q->port = pair->mapping.dport;
	q->protocol = p->protocol;
	return policy_check();
}

/* Stores both entries, with another source port where the source is another or the backend knows this one. */
__noinline int nat_store_both(ctx_t *ctx)
{
	struct scratch *work = scratch();
	const struct packet *p;
	struct nat_pair *pair;
	enum drop_reason why;
	int error;

	if (!work)
		return DROP_CONNTRACK_FULL;
	p = &work->packet;
	pair = &work->pair;
	share_ask(work, &pair->client, 2);
	error = addr_equal(&pair->mapping.src, &p->src) && !work->ct.is_beside ? nat_store_reverse(p, work)
									       : FLOW_EXISTS;
	if (error == FLOW_EXISTS && flow_waits(p)) {
		why = DROP_FLOW_MOVES; /* the port may be one of a flow that is on its way */
	} else if (error == FLOW_EXISTS) {
		pair->flags &= ~FLOW_DSR; /* of another port the backend's node knows nothing: this one undoes it */
		why = nat_reserve_port(ctx);
	} else {
		why = share_reason(error);
	}
	if (why)
		return share_answer(work, why, 2);
	error = nat_store_forward(work);
	if (error)
		nat_forget_reverse(work);
	return share_answer(work, share_reason(error), 2);
}

/* Stores a flow's pair, if the flow may begin. */
static __always_inline enum drop_reason nat_store(ctx_t *ctx)
{
	enum drop_reason why = nat_judge();

	return why ? why : (enum drop_reason)nat_store_both(ctx);
}

#endif
