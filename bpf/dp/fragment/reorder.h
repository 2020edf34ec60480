/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fragments in any order: a later one that comes before its datagram's first waits for it, and is sent after it. That
 * costs nobody a datagram, whether it is translated or not: without the first nobody can put it together.
 */
#ifndef SLUICEWAY_REORDER_H
#define SLUICEWAY_REORDER_H

#include <linux/ip.h>

#include "dp/fragment/queue.h"

static __always_inline bool fragment_key_equal(const struct fragment_key *a, const struct fragment_key *b)
{
	const __u32 *last = (const __u32 *)&a->protocol, *other = (const __u32 *)&b->protocol; /* with the network */

	return a->ident == b->ident && addr_equal(&a->src, &b->src) && addr_equal(&a->dst, &b->dst) && *last == *other;
}

/* the shortest frame with an IP header */
enum { SLOT_OCTETS_MIN = L3 + sizeof(struct iphdr) };

/* Copies the frame into a place. Returns the place; NULL when it can not wait. */
static __noinline struct fragment_slot *queue_store(ctx_t *ctx, const struct scratch *work)
{
	__u32 length = ctx_length(ctx);
	struct fragment_frame *frame;
	struct fragment_slot *w;
	int index;

	if (length < SLOT_OCTETS_MIN)
		return NULL;
	/* else both comparisons become one of a difference, of which 6.1's verifier learns nothing */
	barrier_var(length);
	if (length > SLOT_OCTETS)
		return NULL;
	index = slot_take(&work->datagram.src);
	w = bpf_map_lookup_elem(&fragment_slots, &index);
	if (!w)
		return NULL;
	frame = bpf_map_lookup_elem(&fragment_frames, &index);
	if (!frame || !ctx_load(ctx, 0, frame->octets, length)) {
		slot_change(w, SLOT_BUSY, SLOT_FREE);
		return NULL;
	}
	w->key = work->datagram;
	w->length = length;
	w->seen_s = tick_s();
	w->hook = work->forward.hook;
	slot_change(w, SLOT_BUSY, SLOT_READY);
	return w;
}

/*
 * Has a later fragment wait. False: it goes on as it is. The datagram is entered before the fragment is there, and the
 * first one looked for once more afterwards: it enters itself before it looks who waits, so one of both sees the other.
 */
static __always_inline bool queue_add(ctx_t *ctx, struct scratch *work, const struct packet *p)
{
	struct fragment *f = fragment_fresh(work, p), *now;
	struct fragment_slot *w;

	now = bpf_map_lookup_elem(&fragments, &work->datagram);
	if (!now || !fragment_is_fresh(tick_s(), now->seen_s))
		bpf_map_update_elem(&fragments, &work->datagram, f, now ? BPF_ANY : BPF_NOEXIST);
	w = queue_store(ctx, work);
	if (!w)
		return false;
	now = bpf_map_lookup_elem(&fragments, &work->datagram);
	if (now && now->flags & FRAGMENT_FIRST && slot_change(w, SLOT_READY, SLOT_FREE))
		return ctx_requeue_copy(ctx);
	return true;
}

/* Sends one that waits, in the buffer of the first, whose copy is on its way. */
__noinline int queue_send(ctx_t *ctx, __u32 index)
{
	struct fragment_slot *w = bpf_map_lookup_elem(&fragment_slots, &index);
	struct fragment_frame *frame = bpf_map_lookup_elem(&fragment_frames, &index);
	__u32 length;

	if (!w || !frame)
		return 0;
	length = w->length;
	if (length < SLOT_OCTETS_MIN)
		return 0;
	barrier_var(length); /* as above */
	if (length > SLOT_OCTETS || !ctx_replace(ctx, frame->octets, length))
		return 0;
	return ctx_requeue_copy(ctx);
}

/* Sends what waits at an index for this datagram's first, if it does. */
__noinline int queue_flush(ctx_t *ctx, __u32 index)
{
	struct fragment_slot *w = bpf_map_lookup_elem(&fragment_slots, &index);
	struct scratch *work = scratch();

	if (!w || !work || w->state != SLOT_READY || !fragment_key_equal(&w->key, &work->datagram) ||
	    !slot_change(w, SLOT_READY, SLOT_BUSY))
		return 0;
	if (!fragment_is_fresh(tick_s(), w->seen_s) || !queue_send(ctx, index))
		slot_lost(w);
	slot_change(w, SLOT_BUSY, SLOT_FREE);
	return 0;
}

/* Sends the first one, and all that have waited for it. Returns whether the first was sent. */
__noinline int queue_release(ctx_t *ctx)
{
	struct scratch *work = scratch();
	__u32 group;

	if (!work || !ctx_requeue_copy(ctx))
		return false;
	fence(); /* what was entered before is seen by who looks after */
	group = slot_group(&work->datagram.src);
	for (__u32 i = 0; i < SLOTS_PER_GROUP; i++)
		queue_flush(ctx, group + i);
	return true;
}

/*
 * Protocols that we translate: of others a fragment's place among its like is no concern of ours. A later one of IPv6 may have
 * but the first header's type behind the fragment header.
 */
static __always_inline bool fragment_has_ports(const struct packet *p)
{
	if (p->flags & PACKET_LATER_FRAGMENT && !(p->flags & PACKET_V4) && p->protocol == IPPROTO_DSTOPTS)
		return true;
	return p->protocol == IPPROTO_UDP || has_connections(p->protocol) ||
	       p->protocol == (p->flags & PACKET_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/*
 * A fragment's turn among those of its datagram. True: it waits, or comes again behind us with those that waited for it;
 * it is counted then.
 */
__noinline int fragment_enqueue(ctx_t *ctx, const struct packet *p)
{
	struct scratch *work = scratch();

	if (!p || !work || ctx_gso_size(ctx) || !fragment_has_ports(p))
		return false;
	if (p->flags & PACKET_LATER_FRAGMENT)
		return !(p->flags & PACKET_FOLLOWS) && queue_add(ctx, work, p);
	return fragment_first(p) && queue_release(ctx);
}

static __always_inline bool is_fragment(const struct packet *p)
{
	return p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT);
}

#endif
