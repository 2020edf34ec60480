/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A packet's end, the same at every hook: delivered or dropped, its sender answered, counted, and the verdict. */
#ifndef SLUICEWAY_FINISH_H
#define SLUICEWAY_FINISH_H

#include "dp/forward/deliver.h"
#include "dp/packet/drop.h"
#include "dp/reply/rejected.h"
#include "dp/reply/too_big.h"

/*
 * Tells the sender of what is too large the MTU of the way on. Returns why the packet ends, which is another reason when
 * nobody can be told.
 */
static __always_inline enum drop_reason answer_too_big(ctx_t *ctx, struct packet *p, struct forward *to)
{
	if (to->hook == HOOK_TUNNEL_INGRESS || to->hook == HOOK_TUNNEL_EGRESS)
		return DROP_TOO_BIG_SILENT; /* whoever sent it was told, or sent smaller ones */
	if (!to->mtu) {
		fits_tunnel_mtu(ctx, &to->mtu);
		if (to->asked_port)
			to->mtu -= dsr_size(p);
	}
	return reply_too_big(ctx, p, to->mtu) ? DROP_TOO_BIG : DROP_TOO_BIG_SILENT;
}

/*
 * Answers a packet that is dropped, where its sender is to hear of it, back by the device where the packet is. Returns why it
 * is dropped: one that is answered has another reason than one that cannot be. Sets the packet's is_answered.
 */
__noinline int answer(ctx_t *ctx, int why)
{
	struct scratch *work = scratch();

	if (!work)
		return why;
	if (why != DROP_TOO_BIG)
		return answer_refused(ctx, work, why);
	why = answer_too_big(ctx, &work->packet, &work->forward);
	work->forward.is_answered = why == DROP_TOO_BIG;
	return why;
}

/* Sends what a packet has become back by the device where it is: to its sender, marked where a program of ours is met again. */
static __always_inline int send_answer(ctx_t *ctx, enum hook hook)
{
	if (hook == HOOK_UPLINK_EGRESS || hook == HOOK_POD_INGRESS)
		ctx_set_answer(ctx);
	return bpf_redirect(ctx_ifindex(ctx), hook == HOOK_UPLINK_EGRESS ? BPF_F_INGRESS : 0);
}

/* Is the packet one whose Geneve header has yet to be exchanged on the uplink? */
static __always_inline bool enters_geneve(const struct forward *to)
{
	return is_geneve_ours() && (to->hop == HOP_TUNNEL || to->hook == HOOK_TUNNEL_EGRESS);
}

/* May another proxy translate what a pod sends, so that a program is to look at it where it leaves? */
static __always_inline bool is_left_to_proxy(const struct forward *to, int verdict)
{
	return to->hook == HOOK_POD_INGRESS && verdict == TC_ACT_OK && !to->is_translated && has_other_proxy();
}

/*
 * Ends what an entry program has found out, in this CPU's scratch: why it drops the packet, or DROP_NONE and where it goes.
 * Returns the program's verdict.
 */
__noinline int finish(ctx_t *ctx, int why)
{
	struct scratch *work = scratch();
	struct forward *to;
	bool at_uplink;
	int verdict;

	if (!work)
		return TC_ACT_SHOT;
	to = &work->forward;
	if (to->hop >= HOP_BACK) {
		if (to->hop == HOP_NONE)
			return TC_ACT_SHOT;
		ctx_set_processed(ctx, true);
		return bpf_redirect(ctx_ifindex(ctx), 0);
	}
	at_uplink = to->hook == HOOK_UPLINK_INGRESS || to->hook == HOOK_UPLINK_EGRESS;
	verdict = at_uplink ? TC_ACT_UNSPEC : TC_ACT_OK; /* the next program, then the stack */
	if (!why)
		why = deliver(ctx, &work->packet, to, &verdict);
	if (why || to->audited)
		drop_keep(why ? why : to->audited, why ? 0 : DROP_AUDITED);
	if (why)
		why = answer(ctx, why);
	if (why || to->audited)
		drop_kept(work, why);
	if (why)
		verdict = to->is_answered ? send_answer(ctx, to->hook) : TC_ACT_SHOT;
	else if (to->hook == HOOK_TUNNEL_EGRESS || to->hook == HOOK_POD_INGRESS)
		ctx_set_processed(ctx, !enters_geneve(to) && !is_left_to_proxy(to, verdict));
	if (to->is_ours || !at_uplink || why)
		count(to->hook, why, to->octets);
	return verdict;
}

#endif
