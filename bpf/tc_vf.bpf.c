// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A VF that is a pod's network device, in the pod's namespace: what the pod sends by it leaves by the card, and what comes in is the pod's.
 * A macvlan and its like, above a device of the node, are to these programs what a VF is. Each has them for itself, as
 * endpoint/interface.h says.
 *
 * A veth's ways are turned round here, and counted as a veth's: what a pod sends at HOOK_POD_INGRESS. A service's packets keep the next
 * hop that the pod's routes have for the service.
 */
#define AT_VF

#include "dp/conntrack/nat.h"
#include "dp/forward/from_pod.h"
#include "dp/forward/service_source.h"
#include "dp/fragment/reorder.h"
#include "dp/packet/drop.h"
#include "dp/reply/known.h"
#include "dp/reply/rejected.h"

EXPORT_NUMBER(OWN_ADDRESSES);

/* Begins a connection: to a service, or as it is. */
static __always_inline enum drop_reason begin(ctx_t *ctx, struct scratch *work, struct flow **f)
{
	struct peer_location *to = &work->forward.peer;
	const struct packet *p = &work->packet;
	struct service *s = NULL;

	location_of(&p->dst, to);
	if (is_late_beside(work))
		return policy_check_packet();
	if (!work->ct.is_beside)
		s = service_for(ctx, p);
	if ((s || work->ct.is_beside) && flow_may_come(p))
		return DROP_FLOW_MOVES;
	if (s)
		return s->backends && is_stray(p) ? DROP_STRAY_SEGMENT : ct_begin(ctx, work, s, false, f);
	if (work->ct.is_beside)
		return is_stray(p) ? DROP_STRAY_SEGMENT : ct_source(ctx, work, 0, f);
	if (is_service_address(to))
		return has_other_proxy() ? ct_keep(FLOW_BY_STACK) : DROP_NO_SERVICE;
	return ct_keep(0);
}

/* May what has no flow be sent? What is said to neighbours may. */
__noinline int check_untranslated(void)
{
	struct scratch *work = scratch();
	enum drop_reason why;
	const struct packet *p;

	if (!work || work->forward.is_about_flow)
		return DROP_NONE;
	p = &work->packet;
	if (p->flags & PACKET_LINK)
		return DROP_NONE;
	location_of(&p->dst, &work->forward.peer);
	why = policy_check_packet();
	if (!why && is_service_address(&work->forward.peer) && !has_other_proxy())
		why = DROP_NO_SERVICE;
	return why;
}

/* What the pod sends: its own, and translated where it asks a service. */
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
	fragment_follow(p); /* the stack sends the first one first */
	if (p->flags & PACKET_PORTS)
		f = ct_find(work);
	why = check_packet(ctx, work, f);
	if (why)
		return why;
	if (p->flags & PACKET_PORTS)
		f = ct_update(work, f);
	if (f && work->ct.why)
		return work->ct.why;
	if (!f && p->flags & PACKET_PORTS && !is_for_link(p))
		why = begin(ctx, work, &f);
	else if (p->flags & PACKET_ICMP_ERROR)
		why = icmp_translate(ctx, work);
	if (!why && (!(p->flags & PACKET_PORTS) || (!f && is_for_link(p))))
		why = check_untranslated();
	if (!why && f)
		why = ct_translate(ctx, work, f);
	return why;
}

/* May the pod be sent what has no flow? It is for the pod under whatever address, as a group's is. */
static __always_inline enum drop_reason check_arrival(struct scratch *work)
{
	if (work->forward.is_about_flow || work->packet.flags & PACKET_LINK)
		return DROP_NONE;
	location_of(&work->packet.src, &work->sender);
	memset(&work->forward.peer, 0, sizeof(work->forward.peer));
	location_attach(own_slot, &work->forward.peer);
	return policy_check_packet();
}

/* Who cannot have sent it: the pod itself, and a service. */
static __always_inline enum drop_reason check_arrived_source(struct scratch *work, const struct flow *f)
{
	const struct packet *p = &work->packet;

	if (addr_is_loopback(&p->src) || is_own_address(&p->src))
		return DROP_OWN_SOURCE;
	return is_service_source(work, f) ? DROP_SERVICE_SOURCE : DROP_NONE;
}

/* What comes in for the pod: what answers it, back from a service, and what its policies let in. */
__noinline int to_pod(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct flow *f = NULL;
	struct packet *p;
	enum drop_reason why;

	if (!work)
		return DROP_REWRITE;
	if (ctx_is_of_vlan(ctx))
		return DROP_VLAN;
	p = &work->packet;
	why = parse(ctx, p);
	if (why || p->flags & PACKET_OTHER)
		return why;
	if (p->flags & PACKET_LATER_FRAGMENT)
		fragment_ports(p);
	if (is_fragment(p) && fragment_enqueue(ctx, p)) {
		work->forward.hop = HOP_NONE;
		return DROP_NONE;
	}
	if (p->flags & PACKET_PORTS)
		f = ct_find(work);
	why = check_arrived_source(work, f);
	if (why)
		return why;
	if (p->flags & PACKET_PORTS)
		f = ct_update(work, f);
	else if (p->flags & PACKET_ICMP_ERROR)
		why = icmp_translate(ctx, work);
	if (f)
		return work->ct.why ? work->ct.why : ct_translate(ctx, work, f);
	if (!why && p->flags & PACKET_PORTS && is_own_address(&p->dst) && !work->ct.is_beside)
		return flow_may_come(p) ? DROP_FLOW_MOVES : ct_keep(0);
	return why ? why : check_arrival(work);
}

/* Turns what a pod may not send, or nobody takes, into its answer. Returns why it is dropped. */
__noinline int answer(ctx_t *ctx, int why)
{
	struct scratch *work = scratch();

	return work ? answer_refused(ctx, work, why) : why;
}

/* Ends what an entry program has found out: keeps and counts it. Returns the program's verdict. */
static __always_inline int end(ctx_t *ctx, struct scratch *work, enum drop_reason why)
{
	struct forward *to = &work->forward;

	if (why || to->audited)
		drop_keep(why ? why : to->audited, why ? 0 : DROP_AUDITED);
	if (why && to->hook == HOOK_POD_INGRESS)
		why = answer(ctx, why);
	if (why || to->audited)
		drop_kept(work, why);
	count(to->hook, why, to->octets);
	if (!why)
		return TC_ACT_OK;
	if (!to->is_answered)
		return TC_ACT_SHOT;
	ctx_set_answer(ctx); /* which this device's other program lets in */
	return bpf_redirect(ctx_ifindex(ctx), BPF_F_INGRESS);
}

SEC("tc") int vf_egress(ctx_t *ctx)
{
	struct scratch *work = scratch_fresh(ctx, HOOK_POD_INGRESS);

	return work ? end(ctx, work, from_pod(ctx)) : TC_ACT_SHOT;
}

SEC("tc") int vf_ingress(ctx_t *ctx)
{
	struct scratch *work;
	enum drop_reason why;

	if (ctx_is_answer(ctx))
		return TC_ACT_OK;
	work = scratch_fresh(ctx, HOOK_POD_EGRESS);
	if (!work)
		return TC_ACT_SHOT;
	why = to_pod(ctx);
	if (work->forward.hop == HOP_NONE) /* it comes again, and is counted then */
		return TC_ACT_SHOT;
	return end(ctx, work, why);
}

char _license[] SEC("license") = "Dual BSD/GPL";
