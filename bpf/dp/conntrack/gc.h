/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ends flows that nobody uses any more, in the kernel, so that it goes on when the agent does not. */
#ifndef SLUICEWAY_GC_H
#define SLUICEWAY_GC_H

#include "dp/conntrack/flow.h"
#include "dp/conntrack/nat_port.h"
#include "dp/fragment/queue.h"
#include "dp/service/load.h"

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
const volatile __u32 flow_sctp_s
	DOC("seconds without a packet that end an answered SCTP flow: five heartbeats, and one that is late (RFC 9260 16)") =
		210;
const volatile __u32 flow_sctp_new_s
	DOC("the same while unanswered, and after ABORT, whose tag may have been wrong") = 60;
const volatile __u32 flow_sctp_closed_s
	DOC("the same after SHUTDOWN from both ends, or ABORT in place of an answer") = 10;
const volatile __u32 flow_pressed_s
	DOC("the same of a flow that is unanswered, was answered but once, or is closed, while less than 3/8 of the "
	    "table's room are left; twice that for each eighth more, up to 5/8; at least 3, for copies last so long") =
		3;

#define SECOND_NS 1000000000ULL
#define GC_IDLE_NS (10 * SECOND_NS)
#define GC_CALM_NS SECOND_NS
#define GC_HASTE_NS (SECOND_NS / 2)
#define GC_TICK_NS (SECOND_NS / 2000)

enum {
	GC_SHARE = 200,
	GC_LOOKS = 4,		/* at every stretch, before it could be full */
	GC_FULL = 2,		/* eighths of room left below which time-outs are the shortest */
	GC_UNPRESSED = 5,	/* and from which on they are each flow's own */
	GC_STRETCHES = 1 << 12, /* of the table, at most */
	GC_STRETCH = 128,	/* buckets of a stretch, if the table is not too large */
};
EXPORT_NUMBER(GC_STRETCHES);
EXPORT_NUMBER(GC_STRETCH);

const volatile __u32 flow_stretches
	DOC("stretches of the flow table, each of as many buckets, that conntrack GC walks one by one") = 205;

/* One pass over a stretch of the table. */
struct pass {
	__u32 now_s;
	__u32 pressed_s;  /* what ends a flow that does not go on; 0: its own time-out */
	__u32 met;	  /* entries */
	__u32 ended;	  /* of them */
	__u32 flows;	  /* entries left, a pair's where the forward one is */
	__u32 unanswered; /* flows left that nobody has answered */
	__u32 expired;	  /* flows ended */
};

/* What one tick does of a run. */
struct gc_tick {
	__u64 until_ns; /* no stretch is begun later */
	__u64 full_ns;	/* when the one walked last could be full */
	__u32 walked;	/* stretches */
	__u32 pad;
};

/*
 * The clockwork of conntrack GC, and what it works with: on the stack the verifier would follow every number of it. Lives as
 * long as the map is pinned.
 */
struct gc_timer {
	struct bpf_timer timer;
	struct pass pass;
	struct gc_tick tick;
	__u64 began_ns; /* when the timer was first armed, with a table that was empty or carried */
	__u32 stretch;	/* that is walked next */
	__u32 met;	/* entries that the one before it had */
	__u32 bucket;	/* that is walked */
	__u32 busy;	/* 1: somebody walks; the timer may fire meanwhile, on the same CPU too */
	__u32 owners;	/* who has flows, of those that this run has met */
	__u32 few;	/* entries: who has fewer is pressed last */
	__u32 pad;
	struct flow_key key; /* of the entry that is looked at */
	struct flow flow;    /* and what it says */
	struct flow_key other;
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

/* A stretch of the table as GC last left it, under its index. */
struct gc_look {
	__u64 at_ns;
	__u32 met;	  /* entries when it was walked */
	__u32 left;	  /* and afterwards */
	__u32 flows;	  /* its share of struct gc_run's */
	__u32 unanswered; /* the same */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GC_STRETCHES);
	__type(key, __u32);
	__type(value, struct gc_look);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gc_looks SEC(".maps") PRIVATE;

static __always_inline __u32 sctp_timeout_s(__u32 flags)
{
	if (flags & FLOW_RESET)
		return flags & FLOW_REPLIED ? flow_sctp_new_s : flow_sctp_closed_s;
	if (flags_are_closed(flags))
		return flow_sctp_closed_s;
	return flags & FLOW_REPLIED ? flow_sctp_s : flow_sctp_new_s;
}

static __always_inline __u32 own_timeout_s(__u8 protocol, __u32 flags)
{
	bool answered = flags & FLOW_REPLIED, tcp = protocol == IPPROTO_TCP;

	if (protocol == IPPROTO_SCTP)
		return sctp_timeout_s(flags);
	if (!tcp && !answered)
		return flow_udp_new_s;
	if (!tcp)
		return flags & FLOW_ASSURED ? flow_udp_s : flow_udp_once_s;
	if (flags & FLOW_RESET)
		return answered ? flow_tcp_reset_s : flow_tcp_refused_s;
	if (flags_are_closed(flags))
		return flow_tcp_closed_s;
	if (flags & (FLOW_FIN_ORIGIN | FLOW_FIN_REPLY))
		return flow_tcp_half_s;
	return answered ? flow_tcp_s : flow_tcp_new_s;
}

/* The fuller the table is the less; never of a connection that is answered and open, nor of a flow that goes on. */
static __always_inline __u32 timeout_s(__u8 protocol, __u32 flags, __u32 pressed_s)
{
	__u32 own_s = own_timeout_s(protocol, flags);
	bool goes_on = flags & FLOW_REPLIED && (has_connections(protocol) || flags & FLOW_ASSURED);

	return pressed_s && pressed_s < own_s && (flags_are_closed(flags) || !goes_on) ? pressed_s : own_s;
}

/* Buckets of a stretch. */
static __always_inline __u32 gc_buckets(void)
{
	return flow_bucket_number / flow_stretches;
}

/* How many entries more a stretch with so many is reckoned to have room for. */
static __always_inline __u32 gc_room(__u32 entries)
{
	__u32 whole = gc_buckets() * FLOW_ROOM;

	return entries < whole ? whole - entries : 0;
}

/* Sets the pass's time-outs, for a stretch with so many entries. */
static __always_inline void gc_press(struct pass *pass, __u32 entries)
{
	__u32 eighths = gc_room(entries) * 8ULL / (gc_buckets() * FLOW_ROOM);

	if (eighths >= GC_UNPRESSED)
		return;
	pass->pressed_s = flow_pressed_s << (eighths > GC_FULL ? eighths - GC_FULL : 0);
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

/* Has the owner of a flow few entries, as it was when this run met it first? Then it is pressed last. */
static __always_inline bool gc_has_few(struct gc_timer *s, struct share *mine, const struct load_walk *walk)
{
	__u32 mark = (walk->run + 1) << 1;

	if ((mine->mark & ~1U) != mark) {
		mine->mark = mark | (load_open(&mine->entries, walk->run) < s->few);
		s->owners++;
	}
	return mine->mark & 1;
}

/* The pass's time-out for the flows of one owner: of who has few, only in a table that is nearly full, and longer. */
static __always_inline __u32 gc_pressed_s(struct gc_timer *s, struct share *mine)
{
	const struct load_walk *walk = load_walk();
	__u32 pressed_s = s->pass.pressed_s;

	if (!mine || !walk || !gc_has_few(s, mine, walk))
		return pressed_s;
	return pressed_s == flow_pressed_s ? pressed_s << (GC_UNPRESSED - 1 - GC_FULL) : 0;
}

/* An owner's flow goes on, in so many entries. */
static __always_inline void gc_own(struct share *mine, __u32 entries)
{
	const struct load_walk *walk = load_walk();

	if (!mine || !walk)
		return;
	load_turn(&mine->entries, walk->run);
	__sync_fetch_and_add(&mine->entries.met, entries);
}

/*
 * One entry. A pair is decided by its forward entry, with what both have seen: the reverse one sees the answers.
 * A reverse entry alone has lost its other half to a failed write and goes when it is idle.
 */
static __always_inline void gc_flow(struct gc_timer *s, struct flow_entry *entry)
{
	struct flow_key *key = &s->key;
	struct pass *pass = &s->pass;
	struct flow *f = &s->flow;
	struct share *mine;
	__u32 flags, seen_s;
	__u32 entries = 1;
	__u32 left_s;

	if (!flow_read_entry(entry, key, f))
		return; /* it has just ended, or begun */
	flags = f->flags;
	seen_s = f->seen_s;
	if (flow_has_pair(flags)) {
		struct flow *pair;

		flow_pair_key(f, key->protocol, &s->other);
		pair = flow_find(&s->other);
		if (pair && flags & FLOW_REVERSE)
			return;
		if (pair) {
			entries = 2;
			flags = pair_flags(f, pair);
			if ((__s32)(pair->seen_s - seen_s) > 0)
				seen_s = pair->seen_s;
		}
	}
	left_s = pass->now_s - seen_s;
	mine = share_of(f);
	/* a packet may have been noted since this pass began */
	if ((__s32)left_s <= (__s32)timeout_s(key->protocol, flags, gc_pressed_s(s, mine))) {
		gc_own(mine, entries);
		gc_keep_port(key, f, seen_s);
		if (f->flags & FLOW_BESIDE)
			besides_note(pass->now_s);
		if (f->flags & FLOW_FORWARD && f->set_id && !flags_are_closed(flags))
			load_meet(f->set_id, f->slot);
		pass->flows += entries;
		pass->unanswered += !(flags & FLOW_REPLIED);
		return;
	}
	if (ct_delete_entries(key, f, &entry->flow, &s->other)) {
		pass->expired++;
		pass->ended++;
	}
}

/* One way of the bucket that is walked. */
static long gc_way(__u32 way, void *ctx)
{
	__u32 zero = 0;
	struct gc_timer *s = bpf_map_lookup_elem(&gc_timers, &zero);
	struct flow_bucket *b;
	struct flow_entry *e;

	(void)ctx;
	if (!s || way >= FLOW_WAYS)
		return 1;
	b = flow_bucket_at(s->bucket);
	e = flow_entry_at(s->bucket, way);
	if (!b || !e || !*(volatile __u32 *)flow_tag_at(b, way))
		return 0;
	s->pass.met++;
	gc_flow(s, e);
	return 0;
}

/* The next bucket of the stretch that is walked; most are empty on a calm node. */
static long gc_bucket(__u32 turn, void *ctx)
{
	__u32 zero = 0;
	struct gc_timer *s = bpf_map_lookup_elem(&gc_timers, &zero);
	struct flow_bucket *b;

	(void)ctx;
	if (!s)
		return 1;
	s->bucket = s->stretch * gc_buckets() + turn;
	load_walk_bucket(s->bucket);
	b = flow_bucket_at(s->bucket);
	if (b && flow_room(b) < FLOW_WAYS)
		bpf_loop(FLOW_WAYS, gc_way, NULL, 0);
	return 0;
}

/* Adds to the totals what a stretch has now in place of what it had. */
static __always_inline void gc_sum(struct gc_run *run, struct gc_look *look, const struct pass *pass)
{
	run->expired += pass->expired;
	run->flows += pass->flows - look->flows;
	run->unanswered += pass->unanswered - look->unanswered;
	look->flows = pass->flows;
	look->unanswered = pass->unanswered;
}

/*
 * When a stretch could be full that goes on to grow as it has since it was last walked, or since GC began, in ns from now. Under
 * the greatest pressure that is at once for as long as something ends: what ends elsewhere takes the other halves of pairs with it,
 * and hides what comes.
 */
static __always_inline __u64 gc_full_ns(const struct gc_look *before, const struct pass *pass, __u64 began, __u64 now)
{
	__u64 since = before->at_ns ? before->at_ns : began;
	__u32 left = pass->met - pass->ended;

	if (pass->ended && pass->pressed_s == flow_pressed_s)
		return 0;
	if (pass->met <= before->left)
		return ~0ULL;
	return (now - since) * gc_room(left) / (pass->met - before->left);
}

/*
 * Walks the next stretch. Hashes spread flows evenly, so it is taken to be as full as the one before it, if that is more than it
 * had itself: that is news of now. Returns when it could be full, in ns.
 */
static __noinline __u64 gc_stretch(struct gc_timer *s, struct gc_run *run, struct gc_look *look)
{
	/* programs of this type have no coarse clock; the fine one is the same clock */
	__u64 now = bpf_ktime_get_ns(), full_ns;
	struct pass *pass = &s->pass;

	memset(pass, 0, sizeof(*pass));
	pass->now_s = in_s(now);
	gc_press(pass, look->met > s->met ? look->met : s->met);
	bpf_loop(gc_buckets(), gc_bucket, NULL, 0);
	load_walk_sockets(s->stretch + 1, flow_stretches);
	full_ns = gc_full_ns(look, pass, s->began_ns, now);
	gc_sum(run, look, pass);
	look->at_ns = now;
	look->met = s->met = pass->met;
	look->left = pass->met - pass->ended;
	return full_ns;
}

/* The next stretch, and after the last one all else. 1: enough for now. */
static long gc_step(__u32 turn, void *ctx)
{
	__u32 zero = 0, index;
	struct gc_timer *s = bpf_map_lookup_elem(&gc_timers, &zero);
	struct gc_run *run = bpf_map_lookup_elem(&gc_runs, &zero);
	struct gc_look *look;

	(void)turn;
	(void)ctx;
	if (!s || !run)
		return 1;
	index = s->stretch;
	look = bpf_map_lookup_elem(&gc_looks, &index);
	if (!look)
		return 1;
	s->tick.full_ns = gc_stretch(s, run, look);
	s->tick.walked++;
	s->stretch = index + 1 < flow_stretches ? index + 1 : 0;
	if (!s->stretch) {
		run->runs++;
		run->at_ns = bpf_ktime_get_ns();
		gc_fragments(in_s(run->at_ns));
		load_walk_ends();
		s->few = s->owners ? run->flows / s->owners / 2 : 0;
		s->owners = 0;
	}
	return !s->stretch || bpf_ktime_get_ns() >= s->tick.until_ns;
}

/*
 * When the tick after this one is to be, in ns, which took so long. A run begins every second, or less often where it would take
 * more than a two-hundredth of a CPU's time, but looks several times at a stretch before that could be full. Never more than
 * half a CPU's time.
 */
static __always_inline __u64 gc_wait_ns(const struct gc_tick *tick, __u64 took_ns)
{
	__u64 walked = tick->walked ? tick->walked : 1;
	__u64 run_ns = took_ns * GC_SHARE * flow_stretches / walked, wait_ns;

	if (run_ns < GC_CALM_NS)
		run_ns = GC_CALM_NS;
	if (run_ns > GC_IDLE_NS)
		run_ns = GC_IDLE_NS;
	if (tick->full_ns / GC_LOOKS < run_ns)
		run_ns = tick->full_ns / GC_LOOKS > GC_HASTE_NS ? tick->full_ns / GC_LOOKS : GC_HASTE_NS;
	wait_ns = run_ns * walked / flow_stretches;
	return wait_ns > took_ns ? wait_ns : took_ns;
}

/*
 * A step of a run: a stretch of the table, or more that have little in them. Returns when the next is to be, in ns. At most to the run's
 * end, which nothing else need bound. One at a time.
 */
static __noinline __u64 gc_tick(bool to_the_end)
{
	__u64 began = bpf_ktime_get_ns(), wait_ns;
	__u32 zero = 0;
	struct gc_timer *s = bpf_map_lookup_elem(&gc_timers, &zero);

	if (!s)
		return GC_IDLE_NS;
	if (__sync_val_compare_and_swap(&s->busy, 0, 1))
		return GC_HASTE_NS;
	s->tick.until_ns = to_the_end ? ~0ULL : began + GC_TICK_NS;
	s->tick.full_ns = ~0ULL;
	s->tick.walked = 0;
	bpf_loop(flow_stretches, gc_step, NULL, 0);
	wait_ns = gc_wait_ns(&s->tick, bpf_ktime_get_ns() - began);
	__sync_lock_test_and_set(&s->busy, 0);
	return wait_ns;
}

static int gc_fires(void *map, __u32 *key, struct gc_timer *gc)
{
	(void)map;
	(void)key;
	bpf_timer_start(&gc->timer, gc_tick(false), 0);
	return 0;
}

#endif
