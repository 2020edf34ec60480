/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What pods of this node ask where another proxy serves Services (docs/decisions/0053-service-proxy.md): they leave it to the stack,
 * where that proxy translates it, and it is judged and masqueraded by the device by which it leaves.
 */
#ifndef SLUICEWAY_OTHER_PROXY_H
#define SLUICEWAY_OTHER_PROXY_H

#include "dp/conntrack/nat.h"
#include "dp/fragment/fragment.h"

/* Did a pod of this node send it by the stack, where another proxy may have translated it? Then finds where its ends are. */
__noinline int find_left(void)
{
	struct scratch *work = scratch();

	if (!work || !has_other_proxy())
		return false;
	location_of(&work->packet.src, &work->sender);
	location_of(&work->packet.dst, &work->forward.peer);
	work->forward.is_left = work->sender.slot;
	return work->forward.is_left;
}

/* Has a pod asked a service of another proxy, which did not serve it? Nobody has judged that yet. */
static __always_inline bool is_left_untranslated(const struct scratch *work)
{
	return work->forward.is_left && is_service_address(&work->forward.peer);
}

/*
 * Begins the flow of what a pod has left to the stack, as it leaves: what answers it comes by the stack too. *f is set where it leaves
 * under an address of the node, as pods do that are masqueraded.
 */
static __always_inline enum drop_reason begin_left(ctx_t *ctx, struct scratch *work, struct flow **f)
{
	const struct packet *p = &work->packet;

	if (work->ct.is_beside)
		return policy_check_packet();
	if (!is_masqueraded_to(&p->dst, &work->sender))
		return ct_keep(FLOW_BY_STACK);
	return ct_source(ctx, work, FLOW_BY_STACK, f);
}

/* May go on what a pod has left to the stack, which sends it by the tunnel's device? A function of its own, verified once. */
__noinline int leave_by_tunnel(void)
{
	struct scratch *work = scratch();
	struct packet *p;

	if (!work)
		return DROP_NO_TUNNEL;
	p = &work->packet;
	if (is_left_untranslated(work))
		return policy_check_packet();
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	if (ct_update(work, ct_find(work)))
		return work->ct.why;
	return work->ct.is_beside ? policy_check_packet() : ct_keep(FLOW_BY_STACK);
}

#endif
