/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ends flows that nobody uses any more, in the kernel, so that it goes on when the agent does not. */
#ifndef SLUICEWAY_GC_H
#define SLUICEWAY_GC_H

#include "dp/abi/gc.h"
#include "dp/conntrack/gc_flow.h"
#include "dp/fragment/queue.h"

#define SECOND_NS 1000000000ULL
#define GC_IDLE_NS (10 * SECOND_NS)
#define GC_CALM_NS SECOND_NS
#define GC_HASTE_NS (SECOND_NS / 2)
#define GC_TICK_NS (SECOND_NS / 2000)

enum {
	GC_SHARE = 200,
	GC_LOOKS = 4,		/* at every stretch, before it could be full */
	GC_STRETCHES = 1 << 12, /* of the table, at most */
	GC_STRETCH = 128,	/* buckets of a stretch, if the table is not too large */
};
EXPORT_NUMBER(GC_STRETCHES);
EXPORT_NUMBER(GC_STRETCH);

const volatile __u32 flow_stretches
	DOC("stretches of the flow table, each of as many buckets, that conntrack GC walks one by one") = 205;

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
