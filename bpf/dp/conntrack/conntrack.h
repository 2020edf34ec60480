/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connection tracking: a packet's flow, brought up to date with what it and the node say. */
#ifndef SLUICEWAY_CONNTRACK_H
#define SLUICEWAY_CONNTRACK_H

#include "dp/conntrack/cache.h"
#include "dp/conntrack/flow_move.h"
#include "dp/conntrack/judge.h"
#include "dp/conntrack/refresh.h"
#include "dp/conntrack/share.h"
#include "dp/conntrack/shortcut.h"

/*
 * Does a client whose answers are not seen here go on as one who had some? Of a connection it acknowledges; else it speaks again a second
 * and more later.
 */
static __always_inline bool goes_on_one_way(const struct flow *f, const struct packet *p, __u32 now)
{
	return has_connections(p->protocol) ? !(p->flags & PACKET_OPENS) : now != f->seen_s;
}

/*
 * Notes what the packet says about its flow, in what was read of it and in the entry. Stores only what changed: the entry is
 * shared by all CPUs. While a RST may be a right one the entry keeps the time it came. The time is the same for a flow that
 * has taken the entry's place just now.
 */
static __always_inline void ct_note(struct flow *f, struct flow *entry, const struct packet *p, bool origin)
{
	__u32 now = tick_s(), flags = f->flags;

	if (flags & FLOW_RESET && !(p->flags & PACKET_RST) && (__s32)(now - f->seen_s) < RESET_DOUBT)
		return;
	flags &= ~FLOW_RESET;
	if (flags & FLOW_REPLIED && !has_connections(p->protocol) && now != f->seen_s)
		flags |= FLOW_ASSURED;
	if (p->flags & PACKET_RST)
		flags |= FLOW_RESET;
	else if (!origin || (flow_is_one_way(flags) && goes_on_one_way(f, p, now)))
		flags |= FLOW_REPLIED;
	if (p->flags & PACKET_FIN)
		flags |= origin ? FLOW_FIN_ORIGIN : FLOW_FIN_REPLY;
	if (flags != f->flags)
		flow_note(entry, f->serial, f->flags & ~flags, flags & ~f->flags);
	if (now != f->seen_s)
		entry->seen_s = now;
	f->flags = flags;
	f->seen_s = now;
}

/* Does the copy still hold, and has the table nothing to learn from this packet? */
static __always_inline bool cache_holds(const struct cached_flow *r, const struct packet *p, bool src_hi,
					__u32 revision, __u32 epoch)
{
	const struct flow *f = &r->flow;
	__u32 holds_s = flow_is_settled(f, p->protocol) ? CACHE_S : 0;

	return r->epoch == epoch && tick_s() - f->seen_s <= holds_s &&
	       !(p->flags & (PACKET_SYN | PACKET_FIN | PACKET_RST)) && !(f->flags & FLOW_RESET) &&
	       (f->flags & FLOW_REPLIED || from_origin(f, src_hi)) && flow_holds(f, revision);
}

/*
 * Is it no packet of this flow, whose answers alone it has the ends of? Who asked a service may ask its backend from the same
 * port too: the backend's answers to both would be one flow's.
 */
static __always_inline bool is_beside(const struct flow *f, bool src_hi)
{
	return (f->flags & (FLOW_REVERSE | FLOW_DSR)) == FLOW_REVERSE && from_origin(f, src_hi);
}

/* What the entry says that was looked up under work->key, current or not, into work->found. False: nothing, or another's. */
static __always_inline bool ct_read(struct scratch *work, const struct flow *entry)
{
	if (!entry || !flow_read(entry, &work->key, &work->found))
		return false;
	work->ct.is_current = flow_holds(&work->found, work->ct.revision);
	return true;
}

/*
 * Reads a packet's flow into work->found, from the entry that stands under work->key (NULL: none does); or the one beside another
 * whose answers have these ends, also when the other has ended since. Returns whether there is one.
 */
__noinline int ct_find_entry(const struct flow *entry)
{
	struct scratch *work = scratch();
	bool has_other;

	if (!work)
		return false;
	has_other = ct_read(work, entry);
	if (has_other && !is_beside(&work->found, work->ct.src_hi))
		return true;
	if (!has_other && !besides_may_be())
		return false;
	work->key.beside = 1;
	if (ct_read(work, flow_find(&work->key))) {
		work->ct.is_beside = true;
		return true;
	}
	work->ct.is_beside = has_other;
	work->key.beside = has_other;
	return false;
}

/*
 * Finds a packet's flow, and changes nothing: ct_update() does, once the packet's sender is known to be the one it names.
 * What is returned is to be read only: it is a copy. NULL: there is none.
 */
static __always_inline struct flow *ct_find(struct scratch *work)
{
	const struct packet *p = &work->packet;
	const struct node *n = node_now();
	struct ct_ctx *ct = &work->ct;
	struct cached_flow *r;
	struct flow *entry;
	bool src_hi;

	src_hi = packet_key(p, &work->key);
	ct->src_hi = src_hi;
	ct->cached = CACHE_NONE;
	ct->place = CACHE_NONE;
	ct->is_beside = false;
	ct->why = DROP_NONE;
	if (!n)
		return NULL;
	ct->revision = n->revision;
	ct->epoch = cache_epoch();
	r = filter_may_have(&work->key) ? cache_find(&work->key, &ct->place) : NULL;
	if (r && cache_holds(r, p, src_hi, ct->revision, ct->epoch) && !is_beside(&r->flow, src_hi)) {
		ct->cached = ct->place;
		ct->is_current = true;
		return &r->flow;
	}
	fence_reads(); /* epoch and revision are read, the entry and all that a new one is made of are not */
	entry = flow_find(&work->key);
	if (!entry && !besides_may_be())
		return NULL;
	return ct_find_entry(entry) ? &work->found : NULL;
}

/*
 * The flow of a tuple, to be read only, and not noted: what quotes a packet is none of its flow's. Sets *src_hi: whether the
 * tuple's source is the key's hi end.
 */
static __always_inline struct flow *ct_peek(const struct tuple *t, bool *src_hi)
{
	struct scratch *work = scratch();
	struct flow *entry;

	if (!work)
		return NULL;
	*src_hi = tuple_key(t, &work->other);
	entry = flow_find(&work->other);
	return entry && flow_read(entry, &work->other, &work->found) ? &work->found : NULL;
}

/* Is the flow over that was found in the table, or would it go elsewhere now? If not, its ends are brought up to date. */
static __always_inline bool ct_is_over(struct scratch *work)
{
	const struct packet *p = &work->packet;
	struct flow *f = &work->found;

	if (p->flags & PACKET_SYN && flow_is_closed(work->key.protocol))
		return true;
	if (p->flags & PACKET_SYN && f->flags & FLOW_FORWARD && flow_backend_left(f))
		return !flow_is_answered_now();
	return !work->ct.is_current && !ct_refresh();
}

/*
 * Would a SYN open a connection by one half of a pair whose other half is on its way here? Both have to be asked whether it is
 * closed.
 */
__noinline int ct_comes_in_halves(void)
{
	struct scratch *work = scratch();

	return work && work->found.flags & FLOW_FORWARD && flow_waits(&work->packet) &&
	       !flow_other_half(work, work->key.protocol);
}

/* Brings the ends of the flow that was found in the table, in work->found, up to date. False: it is over, and was ended. */
__noinline int ct_refresh_entry(void)
{
	struct scratch *work = scratch();

	if (!work)
		return false;
	work->ct.is_ended = work->found.flags & FLOW_ENDED; /* while this packet came */
	if (work->ct.is_ended || !ct_is_over(work))
		return true;
	work->ct.is_ended = true;
	if (!ct_delete(&work->key))
		return true;
	/* else what the flow rested on has changed, and its copies know by their revisions */
	if (work->packet.flags & PACKET_SYN)
		cache_void();
	return false;
}

/* Notes in the table what the packet says about the flow that was found, and copies it. */
__noinline int ct_note_entry(void)
{
	struct scratch *work = scratch();
	const struct packet *p;
	struct flow *f, *entry;
	struct ct_ctx *ct;

	if (!work)
		return false;
	p = &work->packet;
	ct = &work->ct;
	f = &work->found;
	entry = flow_find(&work->key);
	if (entry)
		ct_note(f, entry, p, from_origin(f, ct->src_hi));
	if (answers_opening(p) && (!entry || flow_has_ended(entry, f->serial))) {
		ct->is_ended = true;
		return false;
	}
	if (!(p->flags & (PACKET_OPENS | PACKET_FIN | PACKET_RST)) && shortcut_keep(p, f, ct->src_hi, ct->epoch))
		return true;
	if (ct->is_beside) /* the search was for the other's copy */
		return true;
	cache_keep(&work->key, f, ct->epoch, &ct->place);
	ct->cached = ct->place;
	return true;
}

/*
 * Brings the flow that was found up to date with the node and with the packet, and copies it; a copy that holds is. Without a
 * flow afterwards the packet begins one: there was none, or the one that was there is over. One that policy lets go on no more,
 * see ct.why, stays what it is, until its time is over or it may go on again.
 */
static __always_inline struct flow *ct_update(struct scratch *work, struct flow *f)
{
	struct ct_ctx *ct = &work->ct;

	if (!f || ct->cached != CACHE_NONE)
		return f;
	if (work->packet.flags & PACKET_SYN && ct_comes_in_halves()) {
		ct->why = DROP_FLOW_MOVES;
		return &work->found;
	}
	if (!ct_refresh_entry())
		return NULL;
	if (!ct->is_current)
		ct->why = ct_judge(&work->key, &work->found);
	if (!ct->why && !ct->is_ended)
		ct_note_entry();
	if (!ct->why && ct->is_ended && answers_opening(&work->packet))
		ct->why = DROP_FLOW_ENDED;
	return &work->found;
}

/* Ends the flow under the packet's key, which begins anew with the next packet. */
static __always_inline void ct_end(struct scratch *work)
{
	struct flow *entry = flow_find(&work->key);

	if (entry && flow_read(entry, &work->key, &work->found) && ct_delete(&work->key))
		cache_void();
}

/* Where the packet comes from, and where it goes to, as its flow has it. */
static __always_inline const struct peer_location *flow_source(const struct flow *f, __u32 src_hi)
{
	return &f->ends[src_hi & 1];
}

static __always_inline const struct peer_location *flow_destination(const struct flow *f, __u32 src_hi)
{
	return &f->ends[!(src_hi & 1)];
}

/*
 * Is what a backend answers translated at its client's device, and not before? The client is a pod on another CNI plugin's
 * network: on the way there the stack's own connection tracking knows the backend, whom the packets went to.
 */
static __always_inline bool is_left_to_client(const struct scratch *work, const struct flow *f, __u32 src_hi)
{
	return work->forward.hook != HOOK_POD_EGRESS && f->flags & FLOW_REVERSE && !from_origin(f, src_hi) &&
	       addr_equal(&f->to_dst, &work->packet.dst) && is_chained(flow_destination(f, src_hi));
}

/* A flow that begins now, as yet translated to nothing, in this CPU's scratch. */
static __always_inline struct flow *flow_fresh(struct scratch *work, const struct flow_key *key, __u32 flags,
					       bool origin_hi)
{
	struct flow *f = &work->flow;

	memset(f, 0, sizeof(*f));
	f->serial = flow_serial_fresh(work, key);
	f->revision = work->ct.revision;
	f->seen_s = tick_s();
	f->flags = flags | (origin_hi ? FLOW_ORIGIN_HI : 0);
	return f;
}

/* Stores a flow's one entry, if there is none. Returns why there is none then. */
static __always_inline enum drop_reason ct_store(struct scratch *work, const struct flow *f)
{
	enum drop_reason why;
	int error;

	share_ask(work, &f->ends[work->ct.src_hi & 1], 1);
	error = flow_insert(&work->key, f, BPF_NOEXIST);
	why = share_answer(work, share_reason(error), 1);
	return error == FLOW_EXISTS ? DROP_NONE : why;
}

/*
 * Remembers a flow that is carried as it is, where policy lets it begin. A full table, or a share that is used up, costs it only the
 * lookup's shortcut, unless who answers is to be known: sets ct.unkept, why there is no entry.
 */
__noinline int ct_keep(__u32 flags)
{
	struct scratch *work = scratch();
	enum drop_reason why;
	struct flow *f;

	if (!work)
		return DROP_CONNTRACK_FULL;
	f = flow_fresh(work, &work->key, flags, work->ct.src_hi);
	ct_refresh_ends(&work->key, f);
	why = ct_judge(&work->key, f);
	if (why)
		return why;
	if (work->packet.flags & PACKET_RST)
		f->flags |= FLOW_RESET;
	work->ct.unkept = ct_store(work, f);
	return DROP_NONE;
}

#endif
