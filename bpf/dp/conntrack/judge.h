/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What policy says of a flow: of who began it, under the address by which it is known, and of who answers. */
#ifndef SLUICEWAY_JUDGE_H
#define SLUICEWAY_JUDGE_H

#include "dp/conntrack/flow.h"
#include "dp/policy/policy.h"

/*
 * Why a flow, whose ends have been found, may not go on; DROP_NONE: it may. What asks a service that another proxy serves is judged
 * where it comes by again, translated.
 */
__noinline int ct_judge(const struct flow_key *key, const struct flow *f)
{
	struct scratch *work = scratch();
	struct policy_question *q;
	__u32 origin_hi;

	if (!work || !key || !f)
		return DROP_POLICY_UNKNOWN;
	q = &work->question;
	origin_hi = f->flags & FLOW_ORIGIN_HI;
	if (has_other_proxy() && is_service_address(&f->ends[!origin_hi]))
		return DROP_NONE;
	if (!policy_concerns(&f->ends[origin_hi], &f->ends[!origin_hi]))
		return DROP_NONE;
	q->client_at = f->ends[origin_hi];
	q->server_at = f->ends[!origin_hi];
	q->client = origin_hi ? key->hi_addr : key->lo_addr;
	q->server = origin_hi ? key->lo_addr : key->hi_addr;
	q->port = origin_hi ? key->lo_port : key->hi_port;
	q->protocol = key->protocol;
	if (f->flags & FLOW_FORWARD) {
		q->server = f->to_dst;
		q->port = f->to_dport;
	} else if (f->flags & FLOW_REVERSE) {
		q->client = f->to_dst;
	}
	return policy_check();
}

#endif
