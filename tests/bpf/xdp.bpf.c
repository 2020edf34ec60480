// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What of the datapath serves XDP as it serves tc, as one small object: packets are read, find or begin their flows and are
 * translated, ICMP errors too. The programs do what those of tc_pod.bpf.c do before a packet is handed over.
 */
#define CTX_XDP

#include "dp/packet/drop.h"
#include "dp/reply/known.h"

static __always_inline int verdict(const struct scratch *work, enum drop_reason why)
{
	count(work->forward.hook, why, work->forward.octets);
	return why ? XDP_DROP : XDP_PASS;
}

static __always_inline enum drop_reason begin(ctx_t *ctx, struct scratch *work, struct flow **f)
{
	const struct packet *p = &work->packet;
	struct service *s = service_find(&p->dst, p->dport, p->protocol, SCOPE_INTERNAL);

	location_of(&p->src, &work->sender);
	if (s)
		return ct_begin(ctx, work, s, false, f);
	return is_masqueraded_to(&p->dst, &work->sender) ? ct_source(ctx, work, 0, f) : DROP_NONE;
}

static __always_inline enum drop_reason from_pod(ctx_t *ctx, struct scratch *work)
{
	struct packet *p = &work->packet;
	enum drop_reason why = parse(ctx, p);
	struct flow *f;

	if (why || p->flags & PACKET_OTHER)
		return why;
	location_of(&p->src, &work->sender);
	if (p->flags & PACKET_ICMP_ERROR)
		return icmp_translate(ctx, work);
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	f = ct_update(work, ct_find(work));
	if (!f)
		why = begin(ctx, work, &f);
	return why || !f ? why : ct_translate(ctx, work, f);
}

SEC("xdp") int xdp_pod_ingress(ctx_t *ctx)
{
	struct scratch *work = scratch_fresh(ctx, HOOK_POD_INGRESS);

	return work ? verdict(work, from_pod(ctx, work)) : XDP_ABORTED;
}

static __always_inline enum drop_reason to_pod(ctx_t *ctx, struct scratch *work)
{
	struct packet *p = &work->packet;
	enum drop_reason why = parse(ctx, p);
	struct flow *f;

	return why || p->flags & PACKET_OTHER ? why : translate_known(ctx, work, &f);
}

SEC("xdp") int xdp_pod_egress(ctx_t *ctx)
{
	struct scratch *work = scratch_fresh(ctx, HOOK_POD_EGRESS);

	return work ? verdict(work, to_pod(ctx, work)) : XDP_ABORTED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
