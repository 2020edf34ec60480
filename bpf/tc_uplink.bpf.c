// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The node's own devices: what comes in for services and pods, and what the node itself sends to services. */
#include "dp/conntrack/forwarded.h"
#include "dp/endpoint/own_mac.h"
#include "dp/forward/arrive.h"
#include "dp/forward/decide.h"
#include "dp/forward/finish.h"
#include "dp/forward/route_remote.h"
#include "dp/forward/sent.h"
#include "dp/fragment/reorder.h"
#include "dp/reply/announce.h"

const volatile bool xdp_is_generic DOC("the kernel runs the XDP program on devices whose drivers have none") = 0;

/*
 * What comes in by a device: for a service, or a pod of ours. The rest is not ours, and left to the stack; so is a
 * VLAN's frame, which comes in once more by the VLAN's device. Sets what becomes of it.
 */
__noinline int from_uplink(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct flow *f = NULL;
	enum drop_reason why;
	struct forward *to;
	struct packet *p;

	if (!work)
		return DROP_REWRITE;
	p = &work->packet;
	to = &work->forward;
	if (ctx_is_of_vlan(ctx))
		return DROP_NONE;
	why = arrive(ctx, work);
	if (why)
		return why;
	if (p->flags & (PACKET_OTHER | PACKET_LINK) && announce_answer(ctx))
		return DROP_NONE;
	if (p->flags & PACKET_OTHER || is_for_link(p) || addr_is_link_local_v6(&p->src) || ctx_is_for_many(ctx))
		return DROP_NONE;
	if (is_network_chained() && !to->is_own_answer && is_own_source(work, NULL))
		return DROP_OWN_SOURCE;
	if (!serves_outside())
		return DROP_NONE;
	if (to->via)
		dsr_read(ctx);
	/* before anybody takes the first one elsewhere: the later ones wait for it */
	if (p->flags & PACKET_LATER_FRAGMENT)
		fragment_ports(p);
	if (is_fragment(p) && fragment_enqueue(ctx, p)) {
		to->hop = HOP_NONE;
		return DROP_NONE;
	}
	if (is_for_tunnel(p)) /* what is inside comes in by the tunnel's device */
		return tunnel_arrives(ctx, p);
	if (p->flags & PACKET_PORTS) {
		f = update_from_outside(work, ct_find(work), &why);
		if (f && !why)
			why = work->ct.why;
		if (to->via && !why && !work->ct.is_beside)
			f = forwarded_follow(work, f, &why);
		if (!f && !why)
			f = begin_from_outside(ctx, work, &why);
	} else if (is_service_source(work, NULL)) {
		why = DROP_SERVICE_SOURCE;
	} else if (p->flags & PACKET_ICMP_ERROR) {
		why = icmp_translate(ctx, work);
	}
	if (!why)
		why = follow_flow(ctx, work, f);
	if (!why && !f)
		why = keep_from_outside(work);
	to->is_ours = why || to->is_translated || to->ifindex;
	if (why || (p->ttl <= 1 && !to->is_translated))
		return why; /* the stack answers that the time is exceeded */
	to->hop = decide(ctx, p, to);
	return DROP_NONE;
}

/*
 * Is the frame another host's, as the stack has it? A device that listens to everything has such, and one that others are made on
 * (macvlan) has theirs. A device of the node's own on it may have another MAC, as VRRP's has.
 */
static __always_inline bool is_others(const ctx_t *ctx)
{
	return !ctx_is_for_us(ctx) && !is_to_own_mac(ctx);
}

SEC("tc") int uplink_ingress(ctx_t *ctx)
{
	struct scratch *work;

	if (xdp_is_generic && !ctx_restore_ethernet(ctx))
		return TC_ACT_SHOT;
	if (is_others(ctx))
		return TC_ACT_UNSPEC;
	work = scratch_fresh(ctx, HOOK_UPLINK_INGRESS);
	if (!work)
		return TC_ACT_SHOT;
	work->forward.is_own_answer = ctx_is_answer(ctx);
	ctx_set_processed(ctx, false); /* a node in the same kernel may have */
	return finish(ctx, from_uplink(ctx));
}

/*
 * What leaves by a device. Only what the node itself sends is looked at, and what pods left to another proxy: their other packets
 * were processed at their devices. Sets what becomes of it.
 */
__noinline int to_uplink(ctx_t *ctx)
{
	struct scratch *work = scratch();
	enum drop_reason why;
	struct forward *to;
	struct packet *p;
	struct flow *f;

	if (!work)
		return DROP_REWRITE;
	p = &work->packet;
	to = &work->forward;
	why = parse(ctx, p);
	if (why || p->flags & PACKET_OTHER || !(is_from_node(p) || find_left()))
		return DROP_NONE;
	if (is_geneve_ours() && !to->is_left && is_tunnel_port(p))
		return geneve_leaves(ctx, p);
	if (p->flags & PACKET_ICMP_ERROR) {
		why = icmp_translate(ctx, work);
		to->is_ours = to->is_translated;
		return why;
	}
	if (is_left_untranslated(work))
		return policy_check_packet();
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	f = flow_sent(ctx, work, &why);
	if (f && !why)
		why = work->ct.why;
	if (why || !f || !flow_translates(f, work->ct.src_hi))
		return why;
	to->is_ours = true;
	/* an answer is on its way to the client; a request was on its way to the service */
	to->is_answer = !from_origin(f, work->ct.src_hi);
	why = follow_flow(ctx, work, f);
	if (why)
		return why;
	if (remote_is_tunnel(to->peer.remote_id))
		divide_for_tunnel(ctx, p);
	to->hop = decide(ctx, p, to);
	return DROP_NONE;
}

SEC("tc") int uplink_egress(ctx_t *ctx)
{
	if (ctx_is_processed(ctx) || ctx_is_tagged(ctx)) /* a VLAN's device has had it */
		return TC_ACT_UNSPEC;
	if (!scratch_fresh(ctx, HOOK_UPLINK_EGRESS))
		return TC_ACT_SHOT;
	return finish(ctx, to_uplink(ctx));
}

/*
 * What the node's stack sends by the tunnel's device, by a route to another node's pods or one by another node: gets its outer
 * addresses. What the programs send there has them, but what takes such a route past the stack.
 */
__noinline int to_tunnel(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct forward *to;
	struct packet *p;
	enum drop_reason why;

	if (!work)
		return DROP_NO_TUNNEL;
	if (has_tunnel_key(ctx))
		return DROP_NONE;
	p = &work->packet;
	to = &work->forward;
	why = parse(ctx, p);
	if (!why)
		why = translate_sent(ctx, work);
	if (why)
		return why;
	if (p->flags & PACKET_OTHER)
		return DROP_NO_TUNNEL;
	location_of(&p->dst, &to->peer);
	if (!to->peer.remote_id && !to->peer.slot)
		to->peer.remote_id = route_remote(ctx, work);
	to->hop = decide(ctx, p, to);
	return DROP_NONE;
}

SEC("tc") int tunnel_egress(ctx_t *ctx)
{
	if (!scratch_fresh(ctx, HOOK_TUNNEL_EGRESS))
		return TC_ACT_SHOT;
	return finish(ctx, to_tunnel(ctx));
}

/* What the segmenter made of a GSO packet, or what is to be divided, processed already: to another node, or out. */
__noinline int from_segmenter(ctx_t *ctx)
{
	struct scratch *work = scratch();
	enum drop_reason why;
	struct packet *p;

	if (!work)
		return DROP_NO_TUNNEL;
	p = &work->packet;
	why = parse(ctx, p);
	if (why)
		return why;
	if (p->flags & PACKET_OTHER || addr_is_multicast(&p->dst)) {
		work->forward.hop = HOP_NONE; /* what the kernel says to each new link */
		return DROP_NONE;
	}
	if (ctx_is_rest(ctx) || !fits_tunnel(ctx)) {
		if (p->flags & PACKET_V4)
			return DROP_NONE; /* route_fragments() wants it fragmented by the stack */
		why = divide(ctx);
		if (why)
			return why;
	}
	location_of(&p->dst, &work->forward.peer);
	work->forward.hop = decide(ctx, p, &work->forward);
	return DROP_NONE;
}

SEC("tc") int segment_ingress(ctx_t *ctx)
{
	if (!scratch_fresh(ctx, HOOK_TUNNEL_INGRESS))
		return TC_ACT_SHOT;
	return finish(ctx, from_segmenter(ctx));
}

char _license[] SEC("license") = "Dual BSD/GPL";
