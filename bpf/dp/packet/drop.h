/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every packet that a program processes is counted once, by program, direction and reason. */
#ifndef SLUICEWAY_DROP_H
#define SLUICEWAY_DROP_H

#include "dp/abi/counter.h"
#include "dp/abi/drop.h"
#include "dp/config.h"
#include "dp/packet/ctx.h"
#include "dp/packet/hop.h"
#include "dp/packet/scratch.h"

EXPORT_ENUM(drop_reason);
EXPORT_ENUM(program);
EXPORT_ENUM(direction);
EXPORT_ENUM(drop_flag);
EXPORT_NUMBER(COUNTER_REASONS);
EXPORT_NUMBER(DROPS_KEPT);

_Static_assert(DROP_REASONS <= COUNTER_REASONS, "a reason is an index among the counters");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counters SEC(".maps") PROGRAMS_WRITE;

static __always_inline void count(enum hook hook, enum drop_reason why, __u32 octets)
{
	__u32 index = hook * COUNTER_REASONS + why;
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (!c)
		return;
	c->packets++;
	c->octets += octets;
}

/* What was dropped last: each CPU's in a ring of its own, one after the other. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DROPS_KEPT);
	__type(key, __u32);
	__type(value, struct drop_event);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} drops SEC(".maps") PROGRAMS_WRITE PER_CPU(1024);

/* Where this CPU keeps what it drops now; NULL: it keeps nothing. */
static __always_inline struct drop_event *drop_at(const struct scratch *work)
{
	__u32 index = bpf_get_smp_processor_id() * DROPS_KEPT + (work->drops & (DROPS_KEPT - 1));

	return bpf_map_lookup_elem(&drops, &index);
}

/* Keeps what is dropped for whoever looks; the packet is still what it was, or what it had been translated to. */
__noinline int drop_keep(__u32 why, __u32 flags)
{
	bool is_policys = why == DROP_POLICY_INGRESS || why == DROP_POLICY_EGRESS || why == DROP_POLICY_UNKNOWN;
	struct scratch *work = scratch();
	const struct packet *p;
	struct drop_event *e;

	if (!work)
		return 0;
	p = &work->packet;
	e = drop_at(work);
	if (!e)
		return 0;
	e->src = p->src;
	e->dst = p->dst;
	e->sport = p->sport;
	e->dport = p->dport;
	e->protocol = p->protocol;
	e->reason = why;
	e->hook = work->forward.hook;
	e->flags = flags;
	e->sender = is_policys ? work->question.client_at.slot : 0;
	e->receiver = is_policys ? work->question.server_at.slot : 0;
	e->policy = is_policys ? work->policy : 0;
	e->at_ns = bpf_ktime_get_coarse_ns();
	return 0;
}

/* Says why what was kept was dropped in the end; the next has another place. */
static __always_inline void drop_kept(struct scratch *work, enum drop_reason why)
{
	struct drop_event *e = drop_at(work);

	if (e && why)
		e->reason = why;
	work->drops++;
}

#endif
