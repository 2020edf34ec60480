/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How many of the flow table's entries each has who begins flows: each pod, the node's own processes, and all who are outside. Kept up
 * where flows begin and end, and counted again by conntrack GC in each run (docs/decisions/0055-flow-shares.md).
 */
#ifndef SLUICEWAY_SHARE_H
#define SLUICEWAY_SHARE_H

#include "dp/abi/share.h"
#include "dp/endpoint/location.h"
#include "dp/conntrack/flow_insert.h"
#include "dp/service/recount.h"

enum {
	SHARE_CHANGES = 1 << 16
}; /* of an attachment's revision, while a flow of its is idle; another's begins anywhere */

EXPORT_NUMBER(SHARE_OUTSIDE);
EXPORT_NUMBER(SHARE_NODE);
EXPORT_NUMBER(SHARE_PODS);
EXPORT_NUMBER(SHARE_LEAST);
EXPORT_NUMBER(SHARE_TIMES);
EXPORT_NUMBER(SHARE_CHANGES);

/* By SHARE_OUTSIDE, SHARE_NODE, or a slot and SHARE_PODS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct share);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shares SEC(".maps") PROGRAMS_WRITE SIZED_BY(max_endpoints);

static __always_inline struct share *share_at(__u32 owner)
{
	return bpf_map_lookup_elem(&shares, &owner);
}

/* Whose the flows are that begin there. */
static __always_inline __u32 share_owner(const struct peer_location *at)
{
	if (at->slot)
		return SHARE_PODS + at->slot;
	return at->remote_id == REMOTE_SELF ? SHARE_NODE : SHARE_OUTSIDE;
}

/* The revision of the attachment at an owner's slot; 0: it is no pod. */
static __always_inline __u32 share_revision(__u32 owner)
{
	const struct attachment *a = owner >= SHARE_PODS ? attachment_at(owner - SHARE_PODS) : NULL;

	return a ? a->revision : 0;
}

/* Where a flow counts that has begun some time ago; NULL: the pod is gone, and another may have its slot. */
static __always_inline struct share *share_of(const struct flow *f)
{
	const struct peer_location *at = &f->ends[f->flags & FLOW_ORIGIN_HI];
	__u32 owner = share_owner(at);

	if (at->slot && share_revision(owner) - at->revision >= SHARE_CHANGES)
		return NULL;
	return share_at(owner);
}

/*
 * Says in the scratch who begins the flow that is about to be stored, and what it has, and counts so many entries for it: before they
 * are written, for an exchange would wait until their memory has come.
 */
static __always_inline void share_ask(struct scratch *work, const struct peer_location *at, __u32 entries)
{
	const struct load_walk *walk = load_walk();
	struct share *s;

	work->place.owner = share_owner(at);
	work->place.own = 0;
	s = share_at(work->place.owner);
	if (!s || !walk)
		return;
	load_turn(&s->entries, walk->run);
	work->place.own = __sync_fetch_and_add(&s->entries.flows, entries);
}

/* Counts so many entries less, of those that were counted. */
static __always_inline void share_less(struct share *s, __u32 entries)
{
	if (*(volatile __u32 *)&s->entries.flows >= entries)
		__sync_fetch_and_add(&s->entries.flows, -entries);
}

/*
 * The flow was stored, in so many entries; the run of this moment has passed them or not. A plain addition: what another CPU adds
 * in this moment is missed by one run.
 */
static __always_inline void share_begins(const struct scratch *work, __u32 entries)
{
	const struct load_walk *walk = load_walk();
	struct share *s;

	if (!walk || work->place.bucket >= walk->bucket)
		return;
	s = share_at(work->place.owner);
	if (s)
		*(volatile __u32 *)&s->entries.met += entries;
}

/* Counts a flow that was refused, for its owner; what was before was another's, where that is no more the same. */
static __always_inline void share_refuse(struct share *s, __u32 owner, enum drop_reason why)
{
	__u32 holder = share_revision(owner);

	if (holder - s->holder >= SHARE_CHANGES) {
		s->refused = 0;
		s->portless = 0;
	}
	s->holder = holder;
	s->refused_s = tick_s();
	if (why == DROP_FLOW_SHARE)
		__sync_fetch_and_add(&s->refused, 1);
	else
		__sync_fetch_and_add(&s->portless, 1);
}

/* The flow that was asked for has no entries, so many as were counted, and this is why. Returns the same. */
__noinline int share_returns(__u32 why, __u32 entries)
{
	struct scratch *work = scratch();
	struct share *s;

	if (!work)
		return why;
	s = share_at(work->place.owner);
	if (!s)
		return why;
	share_less(s, entries);
	if (why == DROP_FLOW_SHARE || why == DROP_NAT_PORTS)
		share_refuse(s, work->place.owner, why);
	return why;
}

/* What came of the flow that was asked for: DROP_NONE, or why it has no entries, so many as were counted. Returns the same. */
static __always_inline enum drop_reason share_answer(const struct scratch *work, enum drop_reason why, __u32 entries)
{
	if (why)
		return share_returns(why, entries);
	share_begins(work, entries);
	return DROP_NONE;
}

/* Why there is no entry, by what flow_insert() has returned. */
static __always_inline enum drop_reason share_reason(int error)
{
	if (!error)
		return DROP_NONE;
	return error == FLOW_SHARED ? DROP_FLOW_SHARE : DROP_CONNTRACK_FULL;
}

/* A flow has ended, and so many entries with it. What the run of this moment has counted of them is right again after the next. */
__noinline int share_ends(const struct flow *f, __u32 entries)
{
	const struct load_walk *walk = load_walk();
	struct share *s = f ? share_of(f) : NULL;

	if (!s || !walk)
		return 0;
	load_turn(&s->entries, walk->run);
	share_less(s, entries);
	return 0;
}

#endif
