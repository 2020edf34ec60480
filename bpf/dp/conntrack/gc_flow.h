/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What conntrack GC does of one entry of the table: it ends the flow, or counts it for who has it. */
#ifndef SLUICEWAY_GC_FLOW_H
#define SLUICEWAY_GC_FLOW_H

#include "dp/conntrack/flow_timeout.h"
#include "dp/conntrack/nat_port.h"
#include "dp/service/load.h"

enum {
	GC_FULL = 2,	  /* eighths of room left below which time-outs are the shortest */
	GC_UNPRESSED = 5, /* and from which on they are each flow's own */
};

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

		flow_pair_key_of(f, key, &s->other);
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

#endif
