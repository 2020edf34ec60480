/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ends flows that nobody uses any more, in the kernel, so that it goes on when the agent does not. */
#ifndef SLUICEWAY_GC_H
#define SLUICEWAY_GC_H

#include "dp/conntrack/flow.h"
#include "dp/conntrack/nat_port.h"
#include "dp/fragment/queue.h"

const volatile __u32 flow_tcp_s
	DOC("seconds without a packet that end an answered TCP flow (RFC 5382 REQ-5: at least 2 h 4 min)") = 7440;
const volatile __u32 flow_tcp_half_s DOC("the same when one end has sent FIN") = 3600;
const volatile __u32 flow_tcp_closed_s
	DOC("the same after FIN from both ends, who may still send a lost last segment again (RFC 9293 3.6.1)") = 120;
const volatile __u32 flow_tcp_reset_s
	DOC("the same after RST, whose sequence number may have been wrong (RFC 5961 3)") = 300;
const volatile __u32 flow_tcp_refused_s DOC("the same after RST in place of an answer") = 10;
const volatile __u32 flow_tcp_new_s DOC("the same while unanswered") = 60;
const volatile __u32 flow_udp_s
	DOC("seconds without a packet that end a UDP flow with more than one answer (RFC 4787 REQ-5)") = 300;
const volatile __u32 flow_udp_once_s DOC("the same of one that was answered within a second, and then silent") = 120;
const volatile __u32 flow_udp_new_s DOC("the same while unanswered") = 30;
const volatile __u32 flow_pressed_s
	DOC("what ends a flow that is unanswered, answered but once, or closed, while the table is nearly full") = 3;
const volatile __u32 flows_nearly_full DOC("entries above which the table counts as nearly full") = 114688;

#define SECOND_NS 1000000000ULL
#define GC_SOON_NS SECOND_NS
#define GC_IDLE_NS (10 * SECOND_NS)

enum { GC_SHARE = 200 };

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

static __always_inline __u32 timeout_s(__u8 protocol, __u32 flags, bool pressed)
{
	bool answered = flags & FLOW_REPLIED, tcp = protocol == IPPROTO_TCP;
	bool closed = flags & FLOW_RESET || (flags & FLOW_FIN_ORIGIN && flags & FLOW_FIN_REPLY);

	if (pressed && (!answered || closed || !(tcp || flags & FLOW_ASSURED)))
		return flow_pressed_s;
	if (!tcp && !answered)
		return flow_udp_new_s;
	if (!tcp)
		return flags & FLOW_ASSURED ? flow_udp_s : flow_udp_once_s;
	if (flags & FLOW_RESET)
		return answered ? flow_tcp_reset_s : flow_tcp_refused_s;
	if (closed)
		return flow_tcp_closed_s;
	if (flags & (FLOW_FIN_ORIGIN | FLOW_FIN_REPLY))
		return flow_tcp_half_s;
	return answered ? flow_tcp_s : flow_tcp_new_s;
}

/* What both entries of a pair have seen. A RST that one end sent is none where the other has spoken since. */
static __always_inline __u32 pair_flags(const struct flow *f, const struct flow *pair)
{
	__s32 later = pair->seen_s - f->seen_s;
	__u32 own = f->flags, others = pair->flags & (FLOW_REPLIED | FLOW_ASSURED | FLOW_ENDS);

	if (later >= RESET_DOUBT)
		own &= ~FLOW_RESET;
	if (-later >= RESET_DOUBT)
		others &= ~FLOW_RESET;
	return own | others;
}

/* The port of a pod's UDP socket is its own while one of its flows to the outside lives. */
static __always_inline void gc_keep_port(const struct flow_key *key, const struct flow *f, __u32 seen_s)
{
	bool origin_hi = f->flags & FLOW_ORIGIN_HI;
	const ip_addr *addr = origin_hi ? &key->hi_addr : &key->lo_addr;

	if (!(f->flags & FLOW_FORWARD) || f->set_id || key->protocol != IPPROTO_UDP)
		return;
	port_keep(addr_is_v4(addr), f->to_sport, socket_hash(addr, origin_hi ? key->hi_port : key->lo_port), seen_s);
}

/*
 * One entry. A pair is decided by its forward entry, with what both have seen: the reverse one sees the answers.
 * A reverse entry alone has lost its other half to a failed write and goes when it is idle.
 */
static long gc_flow(void *map, struct flow_key *key, struct flow *entry, struct pass *pass)
{
	struct flow_key other;
	__u32 flags, seen_s;
	__u32 entries = 1;
	struct flow f;
	__u32 left_s;

	(void)map;
	if (!flow_read(entry, key, &f))
		return 0; /* it has just ended, or begun */
	flags = f.flags;
	seen_s = f.seen_s;
	if (flags & (FLOW_FORWARD | FLOW_REVERSE)) {
		struct flow *pair;

		flow_pair_key(&f, key->protocol, &other);
		pair = bpf_map_lookup_elem(&flows, &other);
		if (pair && flags & FLOW_REVERSE)
			return 0;
		if (pair) {
			entries = 2;
			flags = pair_flags(&f, pair);
			if ((__s32)(pair->seen_s - seen_s) > 0)
				seen_s = pair->seen_s;
		}
	}
	left_s = pass->now_s - seen_s;
	/* a packet may have been noted since this pass began */
	if ((__s32)left_s <= (__s32)timeout_s(key->protocol, flags, pass->pressed)) {
		gc_keep_port(key, &f, seen_s);
		if (f.flags & FLOW_BESIDE)
			besides_note(pass->now_s);
		pass->flows += entries;
		pass->unanswered += !(flags & FLOW_REPLIED);
		return 0;
	}
	pass->expired += ct_delete_entries(key, &f, entry, &other);
	return 0;
}

/*
 * When the table is to be looked at again, in ns: it has `flows` entries, `before` when it was last looked at, and looking took
 * so long. Soon where it could be full by then, else at a two-hundredth of a CPU's time at most.
 */
static __always_inline __u64 gc_period(__u32 flows, __u32 before, __u64 took_ns)
{
	__u32 grown = flows > before ? flows - before : 0;
	__u64 wait_ns = took_ns * GC_SHARE;

	if (flows > flows_nearly_full || grown * 2 > flows_nearly_full - flows || wait_ns < GC_SOON_NS)
		return GC_SOON_NS;
	return wait_ns < GC_IDLE_NS ? wait_ns : GC_IDLE_NS;
}

/* One run over the table. Returns when the next is to be, in ns. */
static __noinline __u64 gc_flows(void)
{
	__u32 zero = 0;
	struct gc_run *s = bpf_map_lookup_elem(&gc_runs, &zero);
	/* programs of this type have no coarse clock; the fine one is the same clock */
	__u64 began = bpf_ktime_get_ns();
	struct pass pass = {.now_s = in_s(began)};
	__u32 before;

	if (!s)
		return GC_IDLE_NS;
	before = s->flows;
	pass.pressed = s->flows > flows_nearly_full;
	bpf_for_each_map_elem(&flows, gc_flow, &pass, 0);
	s->runs++;
	s->expired += pass.expired;
	s->at_ns = bpf_ktime_get_ns();
	s->flows = pass.flows;
	s->unanswered = pass.unanswered;
	return gc_period(s->flows, before, s->at_ns - began);
}

/* Ends flows, and fragments that nobody fetched. Returns when to look again, in ns. */
static __noinline __u64 gc_all(void)
{
	gc_fragments(in_s(bpf_ktime_get_ns()));
	return gc_flows();
}

static int gc_fires(void *map, __u32 *key, struct gc_timer *gc)
{
	(void)map;
	(void)key;
	bpf_timer_start(&gc->timer, gc_all(), 0);
	return 0;
}

#endif
