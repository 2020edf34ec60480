// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The node's end of a pod's veth: what the pod sends, and what the node's stack sends to it. */
#include "dp/conntrack/flow_move.h"
#include "dp/conntrack/shortcut_take.h"
#include "dp/forward/decide.h"
#include "dp/forward/finish.h"
#include "dp/forward/from_pod.h"
#include "dp/fragment/reorder.h"
#include "dp/reply/known.h"

/* Is it left to the stack, which answers that the time is exceeded, and knows groups and its links? */
static __always_inline bool is_for_stack(const struct packet *p)
{
	return p->ttl <= 1 || is_for_link(p) || addr_is_link_local_v6(&p->src);
}

/* Is it for somebody behind the pod that sends it? It would go back and forth until its TTL is spent. */
static __always_inline bool is_routed_back(const struct scratch *work)
{
	const struct forward *to = &work->forward;

	return is_behind_pod(&to->peer) && to->peer.slot == work->sender.slot && !to->is_translated;
}

/* Begins a connection: to a service, to the outside under an address of the node, or as it is, without a flow to follow. */
static __always_inline enum drop_reason begin(ctx_t *ctx, struct scratch *work, struct flow **f)
{
	struct peer_location *to = &work->forward.peer;
	const struct packet *p = &work->packet;
	struct service *s = NULL;

	if (is_late_beside(work)) {
		location_of(&p->dst, to);
		return policy_check_packet();
	}
	if (!work->ct.is_beside &&
	    !addr_is_loopback(&p->dst)) /* what the node offers at its loopback address is for itself */
		s = service_for(ctx, p);
	if (s && flow_may_come(p))
		return DROP_FLOW_MOVES;
	if (s)
		return s->backends && is_stray(p) ? DROP_STRAY_SEGMENT : ct_begin(ctx, work, s, false, f);
	location_of(&p->dst, to);
	if (is_service_address(to))
		return has_other_proxy() ? ct_keep(FLOW_BY_STACK) : DROP_NO_SERVICE;
	if (is_routed_back(work))
		return DROP_ROUTED_BACK;
	if (to->remote_id != REMOTE_SELF && flow_may_come(p))
		return DROP_FLOW_MOVES;
	if (work->ct.is_beside || (!is_located_here(to) && is_masqueraded_to(&p->dst, &work->sender)))
		return is_stray(p) ? DROP_STRAY_SEGMENT : ct_source(ctx, work, 0, f);
	/* the node's own flows with a pod are known where policy has to tell answers from questions */
	return to->remote_id != REMOTE_SELF || policy_is_on() ? ct_keep(0) : DROP_NONE;
}

/* Is it what every pod says to its node or neighbours, or all on its link, of addresses and groups, and no further? */
static __always_inline bool is_link_talk(const struct packet *p, const struct peer_location *to)
{
	return p->flags & PACKET_LINK && (is_for_link(p) || to->remote_id == REMOTE_SELF || is_chained(to));
}

/*
 * May the pod send what has no flow? And would it leave under the pod's address where pods are masqueraded: is it nothing that
 * can be translated?
 */
__noinline int check_untranslated(void)
{
	struct scratch *work = scratch();
	struct peer_location *to;
	enum drop_reason why;
	const struct packet *p;

	if (!work || work->forward.is_about_flow)
		return DROP_NONE;
	to = &work->forward.peer;
	p = &work->packet;
	location_of(&p->dst, to);
	if (is_link_talk(p, to))
		return DROP_NONE;
	why = policy_check_packet();
	if (why || is_for_stack(p))
		return why;
	if (is_service_address(to))
		return has_other_proxy() ? DROP_NONE : DROP_NO_SERVICE;
	if (is_located_here(to) || !is_masqueraded_to(&p->dst, &work->sender))
		return DROP_NONE;
	return p->flags & PACKET_ICMP_ERROR ? DROP_STRAY_ERROR : DROP_NAT_PROTOCOL;
}

/* What a pod sends: its own, and on its way. Sets what becomes of it. */
__noinline int from_pod(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct flow *f = NULL;
	struct packet *p;
	enum drop_reason why;

	if (!work)
		return DROP_REWRITE;
	if (ctx_is_tagged(ctx))
		return DROP_VLAN;
	p = &work->packet;
	why = parse(ctx, p);
	if (why)
		return why;
	if (p->flags & PACKET_OTHER)
		return check_other(ctx, p);
	if (has_no_address(p))
		return check_nd(ctx, p);
	if (p->flags & PACKET_LATER_FRAGMENT)
		fragment_ports(p);
	if (p->flags & PACKET_PORTS)
		f = ct_find(work);
	why = check_packet(ctx, work, f);
	if (why)
		return why;
	work->forward.is_chained = is_chained(&work->sender);
	if (p->flags & PACKET_PORTS)
		f = ct_update(work, f);
	if (f && work->ct.why)
		return work->ct.why;
	if (is_for_stack(p))
		return f ? DROP_NONE : check_untranslated();
	if (is_fragment(p) && fragment_enqueue(ctx, p)) {
		work->forward.hop = HOP_NONE;
		return DROP_NONE;
	}
	if (p->flags & PACKET_PORTS && !f)
		why = begin(ctx, work, &f);
	else if (p->flags & PACKET_ICMP_ERROR)
		why = icmp_translate(ctx, work);
	if (!why && !(p->flags & PACKET_PORTS))
		why = check_untranslated();
	if (!why)
		why = follow_flow(ctx, work, f);
	if (!why && is_routed_back(work))
		why = DROP_ROUTED_BACK;
	if (!why)
		work->forward.hop = decide(ctx, p, &work->forward);
	return why;
}

SEC("tc") int pod_ingress(ctx_t *ctx)
{
	int verdict = TC_ACT_OK;

	if (shortcut_take(ctx, &verdict)) {
		count(HOOK_POD_INGRESS, DROP_NONE, ctx_length(ctx));
		return verdict;
	}
	if (!scratch_fresh(ctx, HOOK_POD_INGRESS))
		return TC_ACT_SHOT;
	return finish(ctx, from_pod(ctx));
}

/* May the pod at forward's peer be sent by the stack what has no flow? */
static __always_inline enum drop_reason check_by_stack(struct scratch *work)
{
	const struct packet *p = &work->packet;

	if (is_link_talk(p, &work->forward.peer))
		return DROP_NONE;
	location_of(&p->src, &work->sender);
	if (addr_is_link_local_v6(&p->src) && !work->sender.slot) /* nobody forwards that: it is the node's */
		work->sender.remote_id = REMOTE_SELF;
	return policy_check_packet();
}

/*
 * What the stack sends to the pod without a flow. Who came by the stack is answered by the stack, which may have a translation of
 * its own.
 */
static __always_inline enum drop_reason begin_by_stack(struct scratch *work)
{
	const struct packet *p = &work->packet;

	if (p->flags & PACKET_PORTS && !work->ct.is_beside) {
		if (!addr_is_node(&p->src))
			return ct_keep_outside(work, FLOW_EXTERNAL | FLOW_BY_STACK);
		return policy_is_on() ? ct_keep(FLOW_BY_STACK) : DROP_NONE;
	}
	location_of(&p->dst, &work->forward.peer);
	return check_by_stack(work);
}

/*
 * Does another CNI plugin's network bring the pod behind this device what is under no address of that pod: a group's, a
 * broadcast, or what a bridge floods? Then it goes to that pod all the same: sets *to.
 */
static __always_inline bool is_misaddressed(const ctx_t *ctx, struct peer_location *to)
{
	__u32 ifindex = ctx_ifindex(ctx), *slot = bpf_map_lookup_elem(&chained_devices, &ifindex);

	if (!slot || to->slot == *slot)
		return false;
	memset(to, 0, sizeof(*to));
	location_attach(*slot, to);
	return true;
}

/*
 * Was the flow decided when a pod of this node sent the packet? By the stack it comes translated to its backend, under whose
 * entry only answers are looked for.
 */
static __always_inline bool is_decided(const ctx_t *ctx, const struct scratch *work)
{
	return ctx_is_processed(ctx) && work->packet.flags & PACKET_PORTS && work->ct.is_beside;
}

/* What the node's stack sends to the pod: the node's own answers for a service get its address back. */
__noinline int to_pod(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct packet *p;
	enum drop_reason why;
	struct flow *f;

	if (!work)
		return DROP_REWRITE;
	p = &work->packet;
	why = parse(ctx, p);
	if (why || p->flags & PACKET_OTHER)
		return why;
	if (limits_have(NODE_LIMITS) || is_network_chained())
		location_of(&p->dst, &work->forward.peer);
	if (work->forward.is_own_answer)
		return DROP_NONE;
	if (is_network_chained() && is_misaddressed(ctx, &work->forward.peer))
		return check_by_stack(work);
	why = translate_known(ctx, work, &f);
	if (why || f || work->forward.is_about_flow || is_decided(ctx, work))
		return why;
	return begin_by_stack(work);
}

SEC("tc") int pod_egress(ctx_t *ctx)
{
	struct scratch *work;

	if (has_entered(ctx))
		return TC_ACT_OK;
	work = scratch_fresh(ctx, HOOK_POD_EGRESS);
	if (!work)
		return TC_ACT_SHOT;
	work->forward.is_own_answer = ctx_is_answer(ctx);
	return finish(ctx, to_pod(ctx));
}

char _license[] SEC("license") = "Dual BSD/GPL";
