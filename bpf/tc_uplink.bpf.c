// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The node's own devices: what comes in for services and pods, and what the node itself sends to services. */
#include "dp/forward/forward.h"

/* What comes in, without its outer header where another node encapsulated it; sets *was_encapsulated then. */
static __always_inline enum drop_reason arrive(ctx_t *ctx, struct packet *p, bool *was_encapsulated)
{
	enum drop_reason why = parse(ctx, p);

	if (why || !is_encapsulated(p))
		return why;
	*was_encapsulated = true;
	return decapsulate(ctx, p);
}

/*
 * What comes in by a device: for a service, or a pod of ours. The rest is not ours, and left to the stack with
 * *ours unset.
 */
static __always_inline enum drop_reason from_uplink(ctx_t *ctx, struct scratch *work, struct forward *to, bool *ours)
{
	struct ct_ctx ct = {.key = &work->key};
	struct packet *p = &work->packet;
	enum drop_reason why = arrive(ctx, p, &to->was_encapsulated);
	struct service *s;

	if (why)
		return why == DROP_MAPPED_ADDRESS ? why : DROP_NONE;
	if (p->flags & PACKET_OTHER || addr_is_multicast(&p->dst))
		return DROP_NONE;
	/* before anybody takes the first one elsewhere: the later ones wait for it */
	if (p->flags & PACKET_LATER_FRAGMENT)
		fragment_ports(p);
	if (is_fragment(p) && fragment_enqueue(ctx, p, PROGRAM_UPLINK)) {
		to->hop = HOP_QUEUED;
		return DROP_NONE;
	}
	if (is_geneve_ours() && is_tunnel_port(p))
		return geneve_arrives(ctx, p);
	if (is_for_tunnel(p))
		return DROP_NONE; /* what is inside comes in by the tunnel's device */
	if (p->flags & PACKET_PORTS) {
		ct_find(p, &ct);
		ct_update_arriving(p, &ct);
		if (!ct.flow) {
			s = service_find(&p->dst, p->dport, p->protocol, SCOPE_EXTERNAL);
			if (s)
				why = ct_begin(p, &ct, s, true);
		}
		if (why) {
			*ours = true;
			return why;
		}
	}
	if (ct.flow) {
		why = ct_translate(ctx, p, &ct, &to->peer);
	} else {
		if (p->flags & PACKET_ICMP_ERROR)
			why = icmp_translate(ctx, p, &ct.translated);
		location_of(&p->dst, &to->peer);
		if (to->peer.ifindex && p->flags & PACKET_PORTS)
			ct_keep(p, ct.key, ct.src_hi, FLOW_EXTERNAL);
	}
	if (!why)
		why = ct_clamp_mss(ctx, p, &ct, &to->peer);
	*ours = why || ct.translated || to->peer.ifindex;
	if (why || (p->ttl <= 1 && !ct.translated))
		return why; /* the stack answers that the time is exceeded */
	if (to->peer.ifindex)
		to->hop = HOP_POD;
	else if (ct.translated && addr_is_node(&p->dst))
		to->hop = addr_is_node(&p->src) ? HOP_LOOP : HOP_STACK;
	else if (ct.translated && remote_is_tunnel(to->peer.remote_id))
		to->hop = hop_to_remote(ctx, p);
	else if (ct.translated)
		to->hop = HOP_OUT;
	return DROP_NONE;
}

SEC("tc") int uplink_ingress(ctx_t *ctx)
{
	struct forward to = {.hop = HOP_STACK};
	__u32 octets = ctx_length(ctx);
	struct scratch *work = scratch_fresh();
	struct packet *p;
	int verdict = -1; /* TC_ACT_UNSPEC: the next program, then the stack */
	bool ours = false;
	enum drop_reason why;

	if (!work)
		return TC_ACT_SHOT;
	ctx_set_processed(ctx, false); /* a node in the same kernel may have */
	p = &work->packet;
	why = from_uplink(ctx, work, &to, &ours);
	if (to.hop == HOP_QUEUED)
		return TC_ACT_SHOT;
	if (!why)
		why = deliver(ctx, p, &to, true, &verdict);
	why = answer_refused(ctx, p, why, 0, &verdict);
	why = answer_too_big(ctx, p, why, 0, &verdict);
	if (ours || why)
		count(PROGRAM_UPLINK, DIRECTION_INGRESS, why, octets);
	return why && !is_answered(why) ? TC_ACT_SHOT : verdict;
}

/* Does the node itself send this: under an address of its own, or from loopback to loopback? */
static __always_inline bool is_from_node(const struct packet *p)
{
	return addr_is_loopback(&p->src) ? addr_is_loopback(&p->dst) : addr_is_node(&p->src);
}

/* What leaves by a device. Only what the node itself sends is looked at: pods' packets were judged at their end. */
static __always_inline enum drop_reason to_uplink(ctx_t *ctx, struct scratch *work, struct forward *to, bool *ours)
{
	struct ct_ctx ct = {.key = &work->key};
	struct packet *p = &work->packet;
	enum drop_reason why = parse(ctx, p);
	struct service *s;
	bool began;

	if (why || p->flags & PACKET_OTHER || !is_from_node(p))
		return DROP_NONE;
	if (is_geneve_ours() && is_tunnel_port(p))
		return geneve_leaves(ctx, p);
	if (p->flags & PACKET_ICMP_ERROR) {
		why = icmp_translate(ctx, p, ours);
		return why;
	}
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	ct_find(p, &ct);
	ct_update(p, &ct);
	if (!ct.flow) {
		s = service_find(&p->dst, p->dport, p->protocol, SCOPE_INTERNAL);
		if (!s)
			return DROP_NONE;
		*ours = true;
		why = ct_begin(p, &ct, s, false);
		if (why)
			return why;
	}
	began = from_origin(ct.flow, ct.src_hi);
	why = ct_translate(ctx, p, &ct, &to->peer);
	if (!why && ct.translated)
		why = ct_clamp_mss(ctx, p, &ct, &to->peer);
	if (why || !ct.translated)
		return why;
	*ours = true;
	if (to->peer.ifindex)
		to->hop = HOP_POD;
	else if (addr_is_here(&p->dst))
		to->hop = HOP_LOOP;
	else if (began && remote_is_tunnel(to->peer.remote_id))
		to->hop = hop_to_remote(ctx, p);
	else if (began)
		to->hop = HOP_OUT; /* a request was on its way to the service; an answer is on its way to the client */
	return DROP_NONE;
}

SEC("tc") int uplink_egress(ctx_t *ctx)
{
	struct forward to = {.hop = HOP_STACK};
	__u32 octets = ctx_length(ctx);
	struct scratch *work;
	struct packet *p;
	int verdict = -1;
	bool ours = false;
	enum drop_reason why;

	if (ctx_is_processed(ctx))
		return verdict;
	work = scratch_fresh();
	if (!work)
		return TC_ACT_SHOT;
	p = &work->packet;
	why = to_uplink(ctx, work, &to, &ours);
	if (!why)
		why = deliver(ctx, p, &to, false, &verdict);
	why = answer_refused(ctx, p, why, BPF_F_INGRESS, &verdict);
	why = answer_too_big(ctx, p, why, BPF_F_INGRESS, &verdict);
	if (ours || why)
		count(PROGRAM_UPLINK, DIRECTION_EGRESS, why, octets);
	return why && !is_answered(why) ? TC_ACT_SHOT : verdict;
}

/* The node's own answer for a service, and its errors about one, get the service's address back. */
static __always_inline enum drop_reason translate_answer(ctx_t *ctx, struct packet *p)
{
	struct scratch *work = scratch();
	struct ct_ctx ct = {};
	struct peer_location peer;

	if (!work || p->flags & PACKET_OTHER || !is_from_node(p))
		return DROP_NONE;
	if (p->flags & PACKET_ICMP_ERROR)
		return icmp_translate(ctx, p, &ct.translated);
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	ct.key = &work->key;
	ct_find(p, &ct);
	ct_update(p, &ct);
	return ct.flow ? ct_translate(ctx, p, &ct, &peer) : DROP_NONE;
}

/*
 * What the node's stack sends by the tunnel's device, by a route to another node's pods: gets its outer addresses.
 * What the programs send there has them.
 */
static __always_inline enum drop_reason to_tunnel(ctx_t *ctx, int *verdict)
{
	const mac_addr from = TUNNEL_SOURCE_MAC, to = NODE_MAC;
	const struct node *n = node_now();
	struct scratch *work;
	struct prefix *prefix;
	enum drop_reason why;
	struct packet *p;
	int redirected;

	if (ctx_has_tunnel_key(ctx))
		return DROP_NONE;
	work = scratch_fresh();
	if (!work)
		return DROP_NO_TUNNEL;
	p = &work->packet;
	why = parse(ctx, p);
	if (!why)
		why = translate_answer(ctx, p);
	if (why)
		return why;
	prefix = p->flags & PACKET_OTHER ? NULL : prefix_find(&p->dst);
	if (!prefix)
		return DROP_NO_TUNNEL;
	why = route_tunnel(ctx, p, prefix->remote_id, &redirected);
	if (why || !n)
		return why;
	if (n->flags & NODE_IPIP) {
		*verdict = redirected;
		return DROP_NONE;
	}
	return write_macs(ctx, &from, &to);
}

SEC("tc") int tunnel_egress(ctx_t *ctx)
{
	__u32 octets = ctx_length(ctx);
	int verdict = TC_ACT_OK;
	enum drop_reason why = to_tunnel(ctx, &verdict);

	ctx_set_processed(ctx, !is_geneve_ours()); /* Geneve's header is exchanged on the uplink */
	count(PROGRAM_TUNNEL, DIRECTION_EGRESS, why, octets);
	return why ? TC_ACT_SHOT : verdict;
}

/* What the segmenter made of a GSO packet, processed already: to another node, or out. */
SEC("tc") int segment_ingress(ctx_t *ctx)
{
	__u32 octets = ctx_length(ctx);
	struct scratch *work = scratch_fresh();
	int verdict = TC_ACT_SHOT;
	struct prefix *prefix;
	enum drop_reason why;
	struct packet *p;

	if (!work)
		return TC_ACT_SHOT;
	p = &work->packet;
	why = parse(ctx, p);
	if (!why && (p->flags & PACKET_OTHER || addr_is_multicast(&p->dst)))
		return TC_ACT_SHOT; /* what the kernel says to each new link */
	if (!why && !fits_tunnel(ctx))
		return TC_ACT_OK; /* route_fragments() wants it fragmented by the stack */
	prefix = why ? NULL : prefix_find(&p->dst);
	if (!why)
		why = prefix && remote_is_tunnel(prefix->remote_id)
			      ? route_tunnel(ctx, p, prefix->remote_id, &verdict)
			      : route_out(ctx, &p->src, &p->dst, p->protocol, &verdict);
	if (why == DROP_TOO_BIG)
		why = DROP_TOO_BIG_SILENT;
	count(PROGRAM_TUNNEL, DIRECTION_INGRESS, why, octets);
	return why ? TC_ACT_SHOT : verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
