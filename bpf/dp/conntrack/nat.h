/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Begins translated flows: a backend's address for a service's, and where answers need it, a source of ours. */
#ifndef SLUICEWAY_NAT_H
#define SLUICEWAY_NAT_H

#include "dp/conntrack/conntrack.h"
#include "dp/conntrack/nat_port.h"
#include "dp/conntrack/snat.h"
#include "dp/packet/rewrite.h"
#include "dp/service/listener.h"
#include "dp/conntrack/flow_hash.h"
#include "dp/conntrack/nat_store.h"

/*
 * Is what a pod sends to an address to leave under the node's? It is in no range of the cluster's, or of another node's, where
 * nobody knows whom a pod of this node routes for. Not by a VF, to which nobody would send the node's answers.
 */
static __noinline bool is_masqueraded_to(const ip_addr *dst, const struct peer_location *from)
{
	const struct node *n = node_now();
	struct prefix *prefix;

	if (IS_AT_VF || !n || !(n->flags & NODE_MASQUERADE) || addr_is_zero(addr_is_v4(dst) ? &n->addr4 : &n->addr6))
		return false;
	prefix = prefix_find(dst);
	if (!prefix || !(prefix->flags & PREFIX_NO_MASQUERADE))
		return true;
	return prefix->node_id && is_behind_pod(from);
}

/*
 * Would the answers of a backend that is not here miss us, where the client is? A pod's is outside the cluster, or the node asks
 * under a service's address that it has itself, which leads elsewhere where the backend is, or under the very address that it asks,
 * which it may have for itself alone. The mapping's destination is the backend.
 */
static __noinline bool nat_misses_remote(const struct packet *p)
{
	struct scratch *work = scratch();

	if (!work)
		return false;
	if (work->sender.remote_id == REMOTE_SELF)
		return addr_equal(&p->src, &p->dst) || service_addr_remote(&p->src);
	if (!work->sender.slot)
		return false;
	location_of(&work->pair.mapping.dst, &work->pair.backend);
	return !is_located_here(&work->pair.backend) && is_masqueraded_to(&work->pair.mapping.dst, &work->sender);
}

/*
 * Does a pod reach itself by another of its interfaces? From an address of its own it would take it for a forgery, or answer past
 * us. The mapping's destination is the backend.
 */
static __noinline bool nat_misses_itself(void)
{
	struct scratch *work = scratch();

	if (IS_AT_VF || !work || !work->sender.slot)
		return false;
	location_of(&work->pair.mapping.dst, &work->pair.backend);
	return is_same_pod(&work->sender, &work->pair.backend);
}

/*
 * Would a backend's answers miss us under the client's own address? A pod or the node reaches itself, or the backend is elsewhere
 * and the client outside, or as nat_misses_remote().
 */
static __always_inline bool nat_misses_answers(const struct packet *p, const struct backend *b, bool external)
{
	if (addr_equal(&b->addr, &p->src) || addr_is_loopback(&p->src))
		return true;
	if (b->flags & BACKEND_LOCAL)
		return !external && nat_misses_itself();
	return external || nat_misses_remote(p);
}

/* Is a pod that asks a service, or who is behind it, seen by each backend as this node? */
static __always_inline bool is_masqueraded_always(const struct scratch *work, bool external)
{
	const struct node *n = node_now();

	return !IS_AT_VF && !external && work->sender.slot && n && n->flags & NODE_MASQUERADE_ALL;
}

/*
 * Does a client keep its address at the backend that was chosen for it? It must be a pod of another node, which brings answers to
 * the client's node or knows what they have to be; what a node's own processes answer takes the way of their routes. The client
 * must be nobody of the cluster's, for whom another node would have to speak. Sets the pair's flags.
 */
static __always_inline bool nat_forwards(struct scratch *work, const struct service *s, const struct backend *b)
{
	struct prefix *prefix;

	if (b->flags & BACKEND_LOCAL)
		return false;
	prefix = prefix_find(&b->addr);
	if (!prefix || !prefix->forward_id || prefix->flags & PREFIX_NODE)
		return false;
	prefix = prefix_find(&work->packet.src);
	if (prefix && prefix->node_id)
		return false;
	work->pair.flags |= s->flags & SERVICE_DSR ? FLOW_TUNNEL | FLOW_DSR : FLOW_TUNNEL;
	return true;
}

/* Does the backend that was chosen see who asks? */
__noinline int nat_keeps_client(const struct service *s, const struct backend *b, bool external)
{
	struct scratch *work = scratch();

	if (!s || !b || !work)
		return false;
	if (external && s->flags & SERVICE_TUNNEL && nat_forwards(work, s, b))
		return true;
	return !is_masqueraded_always(work, external) && !nat_misses_answers(&work->packet, b, external);
}

/* The hash by which the backend of a new flow is chosen; where there is but one, it says nothing. */
static __always_inline __u32 nat_hash(const struct packet *p, const struct service *s)
{
	if (s->backends == 1)
		return 0;
	if (s->scheduler != SCHEDULER_MAGLEV)
		return service_hash(s, &p->src, &p->dst, bpf_ntohs(p->sport));
	return flow_hash(p);
}

/*
 * Why what is asked of a backend may not be: a node takes what comes to the port of the encapsulation under another node's address
 * for what that one has encapsulated, and so it would come from whoever is given such a backend. A node's own processes may as well
 * ask there themselves.
 */
static __noinline enum drop_reason nat_check_tunnel(const struct scratch *work, const struct backend *b, bool external)
{
	const struct node *n = node_now();

	if (!n || !n->tunnel_port || b->port != n->tunnel_port || work->packet.protocol != IPPROTO_UDP)
		return DROP_NONE;
	if (!(external || work->sender.slot) || !(addr_is_node(&b->addr) || node_at(&b->addr)))
		return DROP_NONE;
	return external ? DROP_TUNNEL_OUTER : DROP_TUNNEL_POD;
}

/* Chooses the backend, and says what it is to be sent. */
static __always_inline enum drop_reason nat_choose(ctx_t *ctx, struct scratch *work, const struct service *s,
						   bool external)
{
	const struct packet *p = &work->packet;
	struct nat_pair *pair = &work->pair;
	enum drop_reason why;
	struct backend *b;

	pair->set_revision = set_revision(s->set_id);
	fence_reads(); /* the set's revision is read, its backends are not */
	b = service_backend(s, &p->src, nat_hash(p, s), &pair->slot);
	if (!b)
		return DROP_BACKEND_LOST;
	why = nat_check_tunnel(work, b, external);
	if (why)
		return why;
	pair->set_id = s->set_id;
	pair->flags = external ? FLOW_EXTERNAL : 0;
	pair->way = 0;
	pair->mapping.src = p->src;
	pair->mapping.dst = b->addr;
	pair->mapping.sport = p->sport;
	pair->mapping.dport = b->port;
	pair->mapping.protocol = p->protocol;
	return nat_keeps_client(s, b, external) ? DROP_NONE : snat_choose(ctx, &p->src);
}

/*
 * Is it SCTP's that begins no association? One end may have more addresses, and ask the other by them: as the flow of another backend,
 * or under another port, it would be told that there is no such association, and end the one that there is.
 */
static __always_inline bool is_stray_path(const struct packet *p)
{
	return p->protocol == IPPROTO_SCTP && is_stray(p);
}

/* The flow has begun: where its service goes by who has least, that one has more now. */
static __always_inline void nat_count(const struct scratch *work, const struct service *s)
{
	if (s->scheduler == SCHEDULER_LC)
		load_flow_begins(work->pair.set_id, work->pair.slot, work->place.bucket);
}

/*
 * What the translated flow of a packet to a service's backend is to be, if the service serves the packet's source and has a backend. The
 * client's address is kept unless answers would miss us.
 */
__noinline int nat_to_backend(ctx_t *ctx, const struct service *s, bool external)
{
	struct scratch *work = scratch();

	barrier_var(ctx); /* a VF's programs have no use for it, but the verifier wants to see it given */
	if (!s || !work)
		return DROP_BACKEND_LOST;
	if (!source_is_served(s, &work->packet.src))
		return DROP_SOURCE_RANGE;
	if (!s->backends)
		return service_empty(s);
	if (is_stray_path(&work->packet))
		return DROP_STRAY_SEGMENT;
	return nat_choose(ctx, work, s, external);
}

/*
 * Remembers the flow of who is outside to a pod, that the pod's answers are not taken for flows of its own: under the node's
 * address they would be nobody's.
 */
static __always_inline enum drop_reason ct_keep_outside(struct scratch *work, __u32 flags)
{
	enum drop_reason why = ct_keep(flags);

	if (why || !work->ct.unkept)
		return why;
	/* where the pod is stands in what could not be stored */
	if (is_masqueraded_to(&work->packet.src, flow_destination(&work->flow, work->ct.src_hi)))
		return work->ct.unkept;
	return DROP_NONE;
}

/*
 * What a flow is to be that is no service's: of a pod to somebody outside under an address of the node, or one beside another's answers
 * under its own, which needs but another port.
 */
static __always_inline enum drop_reason nat_to_source(ctx_t *ctx, struct scratch *work, __u32 flags)
{
	const struct packet *p = &work->packet;
	struct nat_pair *pair = &work->pair;

	if (is_stray_path(p))
		return DROP_STRAY_SEGMENT;
	pair->mapping.dst = p->dst;
	pair->mapping.sport = p->sport;
	pair->mapping.dport = p->dport;
	pair->mapping.protocol = p->protocol;
	pair->set_id = 0;
	pair->set_revision = 0;
	pair->slot = 0;
	pair->flags = flags;
	if (work->ct.is_beside) {
		pair->mapping.src = p->src;
		pair->way = 0;
		pair->flags |= FLOW_BESIDE;
		besides_note(tick_s());
		return DROP_NONE;
	}
	return snat_choose(ctx, &p->src);
}

/*
 * Begins the flow of a packet to a service, as nat_to_backend(); work->sender is found. The client's port is kept unless its address is
 * not, or the backend knows it from another flow. On DROP_NONE both entries are there, and *f is what was stored.
 */
static __always_inline enum drop_reason ct_begin(ctx_t *ctx, struct scratch *work, const struct service *s,
						 bool external, struct flow **f)
{
	enum drop_reason why = nat_to_backend(ctx, s, external);

	if (!why)
		why = nat_store(ctx);
	if (why)
		return why;
	nat_count(work, s);
	*f = &work->flow;
	return DROP_NONE;
}

/* Begins a flow under another source, as nat_to_source(); otherwise as ct_begin(). */
static __always_inline enum drop_reason ct_source(ctx_t *ctx, struct scratch *work, __u32 flags, struct flow **f)
{
	enum drop_reason why = nat_to_source(ctx, work, flags);

	if (!why)
		why = nat_store(ctx);
	if (!why)
		*f = &work->flow;
	return why;
}

/* Is the packet one beside another flow's answers that begins none? It goes as it is. */
static __always_inline bool is_late_beside(const struct scratch *work)
{
	return work->ct.is_beside && has_connections(work->packet.protocol) && !(work->packet.flags & PACKET_SYN);
}

/* What the backend's node is told of the service that was asked: with a SYN, or with each packet of what has none. */
static __always_inline void note_asked(struct scratch *work)
{
	const struct packet *p = &work->packet;

	if (!(p->flags & PACKET_L4) || (has_connections(p->protocol) && !(p->flags & PACKET_SYN)))
		return;
	work->asked = p->dst;
	work->forward.asked_port = p->dport;
}

/* Finds out what a translated flow makes of the packet: its addresses and ports into work->inner, and its way. */
static __always_inline void ct_translation(struct scratch *work, const struct flow *f)
{
	work->inner.src = f->to_src;
	work->inner.dst = f->to_dst;
	work->inner.sport = f->to_sport;
	work->inner.dport = f->to_dport;
	work->inner.protocol = work->packet.protocol;
	snat_translate(work, f);
	if (flow_is_one_way(f->flags))
		note_asked(work);
	work->forward.is_translated = true;
	work->forward.is_renamed = !addr_equal(&f->to_src, &work->packet.src);
}

/* Translates the packet by its flow, if that is a translated one; the packet's own record follows. */
static __always_inline enum drop_reason ct_translate(ctx_t *ctx, struct scratch *work, const struct flow *f)
{
	if (!flow_translates(f, work->ct.src_hi) || is_left_to_client(work, f, work->ct.src_hi))
		return DROP_NONE;
	ct_translation(work, f);
	return rewrite(ctx, &work->packet, &work->inner);
}

#endif
