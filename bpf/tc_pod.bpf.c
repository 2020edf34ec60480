// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The node's end of a pod's veth: what the pod sends, and what the node's stack sends to it. */
#include "dp/conntrack/shortcut_take.h"
#include "dp/forward/forward.h"

/* Neighbour discovery and multicast listener reports, which a pod sends from a link-local address or none. */
static __always_inline bool is_link_control(const struct packet *p)
{
	return p->protocol == IPPROTO_ICMPV6 && !(p->flags & PACKET_V4) &&
	       (addr_is_link_local_v6(&p->src) || addr_is_zero(&p->src));
}

/* Is the packet the pod's own? A flow that is up to date remembers its device; else the endpoints are asked. */
static __always_inline enum drop_reason check_pod(ctx_t *ctx, const struct packet *p, const struct ct_ctx *ct)
{
	struct peer_location peer;

	if (ct->flow && ct->is_current)
		return check_source(ctx, &ct->flow->ends[ct->src_hi]);
	location_of(&p->src, &peer);
	return check_source(ctx, &peer);
}

/* Begins a connection: to a service, to the outside under the node's address, or as it is. */
static __always_inline enum drop_reason begin(const struct packet *p, struct ct_ctx *ct)
{
	struct service *s = NULL;
	struct endpoint *e;

	if (!addr_is_loopback(&p->dst)) /* what the node offers at its loopback address is for itself */
		s = service_find(&p->dst, p->dport, p->protocol, SCOPE_INTERNAL);
	if (s)
		return ct_begin(p, ct, s, false);
	e = endpoint_find(&p->dst);
	if (!e && is_masqueraded(p))
		return ct_masquerade(p, ct);
	if (!e || !(e->flags & ENDPOINT_NODE))
		ct_keep(p, ct->key, ct->src_hi, 0);
	return DROP_NONE;
}

/* A packet of a connection, or one that could begin one. */
static __always_inline enum drop_reason connection(ctx_t *ctx, struct packet *p, struct ct_ctx *ct, struct forward *to)
{
	enum drop_reason why = ct->flow ? DROP_NONE : begin(p, ct);

	if (why)
		return why;
	if (ct->flow)
		return ct_translate(ctx, p, ct, &to->peer);
	location_of(&p->dst, &to->peer);
	return DROP_NONE;
}

/* Has the stack had the flow's packets before? */
static __always_inline bool by_stack(const struct ct_ctx *ct)
{
	return ct->flow && ct->flow->flags & FLOW_BY_STACK;
}

/* What a pod sends: its own, and on its way. Sets *to. */
static __always_inline enum drop_reason from_pod(ctx_t *ctx, struct scratch *work, struct forward *to)
{
	struct ct_ctx ct = {.key = &work->key};
	struct packet *p = &work->packet;
	enum drop_reason why = parse(ctx, p);

	if (why)
		return why;
	if (p->flags & PACKET_OTHER)
		return p->ethertype == bpf_htons(ETH_P_ARP) ? DROP_NONE : DROP_ETHERTYPE;
	if (is_link_control(p))
		return DROP_NONE;
	if (p->flags & PACKET_LATER_FRAGMENT)
		fragment_ports(p);
	if (p->flags & PACKET_PORTS)
		ct_find(p, &ct);
	why = check_pod(ctx, p, &ct);
	if (why)
		return why;
	if (p->flags & PACKET_PORTS)
		ct_update_arriving(p, &ct);
	if (p->ttl <= 1 || addr_is_multicast(&p->dst))
		return DROP_NONE; /* the stack answers that the time is exceeded, and knows groups */
	if (is_fragment(p) && fragment_enqueue(ctx, p, PROGRAM_POD)) {
		to->hop = HOP_QUEUED;
		return DROP_NONE;
	}
	if (p->flags & PACKET_PORTS) {
		why = connection(ctx, p, &ct, to);
	} else {
		if (p->flags & PACKET_ICMP_ERROR)
			why = icmp_translate(ctx, p, &ct.translated);
		location_of(&p->dst, &to->peer);
	}
	if (!why)
		why = ct_clamp_mss(ctx, p, &ct, &to->peer);
	if (why)
		return why;
	if (to->peer.ifindex)
		to->hop = HOP_POD;
	else if (remote_is_tunnel(to->peer.remote_id))
		to->hop = fits_tunnel(ctx) ? HOP_TUNNEL : HOP_STACK;
	else if (ct.translated)
		to->hop = hop_of_translated(p);
	if (to->hop == HOP_STACK && to->peer.remote_id == REMOTE_ROUTED && !by_stack(&ct))
		to->hop = HOP_FIB;
	to->copy = ct.flow ? ct.copy : CACHE_NONE;
	return DROP_NONE;
}

SEC("tc") int pod_ingress(ctx_t *ctx)
{
	struct forward to = {.hop = HOP_STACK};
	__u32 octets = ctx_length(ctx);
	struct scratch *work;
	struct packet *p;
	int verdict = TC_ACT_OK;
	enum drop_reason why;

	if (shortcut_take(ctx, &verdict)) {
		count(PROGRAM_POD, DIRECTION_INGRESS, DROP_NONE, octets);
		return verdict;
	}
	work = scratch_fresh();
	if (!work)
		return TC_ACT_SHOT;
	p = &work->packet;
	why = from_pod(ctx, work, &to);
	if (to.hop == HOP_QUEUED)
		return TC_ACT_SHOT;
	if (!why)
		why = limit_from_pod(ctx, p, to.hop != HOP_POD && to.hop != HOP_LOOP,
				     to.hop == HOP_TUNNEL ? to.peer.remote_id : 0);
	if (!why)
		why = deliver(ctx, p, &to, true, &verdict);
	why = answer_refused(ctx, p, why, 0, &verdict);
	why = answer_too_big(ctx, p, why, 0, &verdict);
	/* Geneve's header is exchanged on the uplink */
	ctx_set_processed(ctx, to.hop != HOP_TUNNEL || !is_geneve_ours());
	count(PROGRAM_POD, DIRECTION_INGRESS, why, octets);
	return why && !is_answered(why) ? TC_ACT_SHOT : verdict;
}

/* What the node's stack sends to the pod: the node's own answers for a service get its address back. */
static __always_inline enum drop_reason to_pod(ctx_t *ctx, struct scratch *work)
{
	struct ct_ctx ct = {.key = &work->key};
	struct packet *p = &work->packet;
	struct peer_location peer;
	enum drop_reason why = parse(ctx, p);

	if (why)
		return why;
	if (p->flags & PACKET_OTHER)
		return DROP_NONE;
	if (p->flags & PACKET_ICMP_ERROR)
		return icmp_translate(ctx, p, &ct.translated);
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	ct_find(p, &ct);
	ct_update(p, &ct);
	if (ct.flow)
		return ct_translate(ctx, p, &ct, &peer);
	/* who came by the stack is answered by the stack, which may have a translation of its own */
	if (!addr_is_node(&p->src))
		ct_keep(p, ct.key, ct.src_hi, FLOW_EXTERNAL | FLOW_BY_STACK);
	return DROP_NONE;
}

SEC("tc") int pod_egress(ctx_t *ctx)
{
	__u32 octets = ctx_length(ctx);
	struct scratch *work = scratch_fresh();
	enum drop_reason why;

	if (!work)
		return TC_ACT_SHOT;
	why = to_pod(ctx, work);
	if (!why)
		why = limit_to_pod(ctx, &work->packet, ctx_ifindex(ctx));
	count(PROGRAM_POD, DIRECTION_EGRESS, why, octets);
	return why ? TC_ACT_SHOT : TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
