/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether whoever policy denies hears of it, and the answer. */
#ifndef SLUICEWAY_REJECTED_H
#define SLUICEWAY_REJECTED_H

#include "dp/config.h"
#include "dp/packet/hop.h"
#include "dp/reply/refuse.h"

/*
 * Is the sender of what policy denies told so? A pod that nobody knows yet may hear of nothing, and what the stack sends to a pod
 * came from where the pod's device does not lead.
 */
static __always_inline bool is_rejected(ctx_t *ctx, struct packet *p, enum hook hook, enum drop_reason why)
{
	const struct node *n = node_now();

	if (hook == HOOK_POD_EGRESS || (why != DROP_POLICY_INGRESS && why != DROP_POLICY_EGRESS))
		return false;
	return n && n->flags & NODE_POLICY_REJECT && refuse(ctx, p);
}

/*
 * Refuses what is for nobody, or denied, where its sender is to hear of it. Returns why it is dropped: what is answered has another reason
 * than what cannot be. Sets the packet's is_answered.
 */
static __always_inline enum drop_reason answer_refused(ctx_t *ctx, struct scratch *work, enum drop_reason why)
{
	struct packet *p = &work->packet;
	bool told = true;

	if (why == DROP_NO_BACKEND || why == DROP_NO_SERVICE)
		told = refuse(ctx, p);
	if (!told)
		why = why == DROP_NO_BACKEND ? DROP_NO_BACKEND_SILENT : DROP_NO_SERVICE_SILENT;
	work->forward.is_answered = why == DROP_NO_BACKEND || why == DROP_NO_SERVICE ||
				    is_rejected(ctx, p, work->forward.hook, why);
	return why;
}

#endif
