/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ends flows that nobody uses any more, in the kernel, so that it goes on when the agent does not. */
#ifndef SLUICEWAY_GC_H
#define SLUICEWAY_GC_H

#include "dp/conntrack/flow.h"
#include "dp/fragment/queue.h"

const volatile __u32 flow_tcp_s
	DOC("seconds without a packet that end an answered TCP flow (RFC 5382 REQ-5: at least 2 h 4 min)") = 7440;
const volatile __u32 flow_tcp_half_s DOC("the same when one end has sent FIN") = 3600;
const volatile __u32 flow_tcp_closed_s DOC("the same after FIN from both ends or RST") = 10;
const volatile __u32 flow_tcp_new_s DOC("the same while unanswered") = 60;
const volatile __u32 flow_udp_s DOC("seconds without a packet that end an answered UDP flow (RFC 4787 REQ-5)") = 300;
const volatile __u32 flow_udp_new_s DOC("the same while unanswered") = 30;
const volatile __u32 flow_pressed_s DOC("what ends an unanswered flow while the table is nearly full") = 3;
const volatile __u32 flows_nearly_full DOC("entries above which the table counts as nearly full") = 114688;

enum {
	SECOND_NS = 1000000000,
	GC_IDLE_S = 10,
	GC_PRESSED_S = 1,
};

/* The clockwork of conntrack GC; lives as long as the map is pinned. */
struct gc_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gc_timer);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gc_timers SEC(".maps") PRIVATE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gc_run);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gc_runs SEC(".maps") PROGRAMS_WRITE;

/* One pass over the table. */
struct pass {
	__u32 now_s;
	__u32 flows;	  /* entries left */
	__u32 unanswered; /* flows left that nobody has answered */
	__u32 expired;	  /* flows ended */
	bool pressed;
};

static __always_inline __u32 timeout_s(__u8 protocol, __u16 flags, bool pressed)
{
	bool answered = flags & FLOW_REPLIED;

	if (!answered && pressed)
		return flow_pressed_s;
	if (protocol != IPPROTO_TCP)
		return answered ? flow_udp_s : flow_udp_new_s;
	if (flags & FLOW_RESET || (flags & FLOW_FIN_ORIGIN && flags & FLOW_FIN_REPLY))
		return flow_tcp_closed_s;
	if (flags & (FLOW_FIN_ORIGIN | FLOW_FIN_REPLY))
		return flow_tcp_half_s;
	return answered ? flow_tcp_s : flow_tcp_new_s;
}

/*
 * One entry. A pair is decided by its forward entry, with what both have seen: the reverse one sees the answers.
 * A reverse entry alone has lost its other half to a failed write and goes when it is idle.
 */
static long gc_flow(void *map, struct flow_key *key, struct flow *f, struct pass *pass)
{
	__u16 flags = f->flags;
	__u32 seen_s = f->seen_s;
	struct flow_key other;
	__u32 entries = 1;
	__u32 left_s;

	(void)map;
	if (flags & (FLOW_FORWARD | FLOW_REVERSE)) {
		struct flow *pair;

		flow_pair_key(f, key->protocol, &other);
		pair = bpf_map_lookup_elem(&flows, &other);
		if (pair && flags & FLOW_REVERSE)
			return 0;
		if (pair) {
			entries = 2;
			flags |= pair->flags & (FLOW_REPLIED | FLOW_ENDS);
			if ((__s32)(pair->seen_s - seen_s) > 0)
				seen_s = pair->seen_s;
		}
	}
	left_s = pass->now_s - seen_s;
	/* a packet may have been noted since this pass began */
	if ((__s32)left_s <= (__s32)timeout_s(key->protocol, flags, pass->pressed)) {
		pass->flows += entries;
		pass->unanswered += !(flags & FLOW_REPLIED);
		return 0;
	}
	ct_delete_entries(key, f, &other);
	pass->expired++;
	return 0;
}

/* One run over the table. Returns whether the table is nearly full. */
static __noinline bool gc_flows(void)
{
	__u32 zero = 0;
	struct gc_run *s = bpf_map_lookup_elem(&gc_runs, &zero);
	/* programs of this type have no coarse clock; the fine one is the same clock */
	struct pass pass = {.now_s = in_s(bpf_ktime_get_ns())};

	if (!s)
		return false;
	pass.pressed = s->flows > flows_nearly_full;
	bpf_for_each_map_elem(&flows, gc_flow, &pass, 0);
	s->runs++;
	s->expired += pass.expired;
	s->at_ns = bpf_ktime_get_ns();
	s->flows = pass.flows;
	s->unanswered = pass.unanswered;
	return s->flows > flows_nearly_full;
}

/* Ends flows, and fragments that nobody fetched. Returns whether the table of flows is nearly full. */
static __noinline bool gc_all(void)
{
	gc_fragments(in_s(bpf_ktime_get_ns()));
	return gc_flows();
}

static int gc_fires(void *map, __u32 *key, struct gc_timer *gc)
{
	__u64 s;

	(void)map;
	(void)key;
	s = gc_all() ? GC_PRESSED_S : GC_IDLE_S;
	bpf_timer_start(&gc->timer, s * SECOND_NS, 0);
	return 0;
}

#endif
