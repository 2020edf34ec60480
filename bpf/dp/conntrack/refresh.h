/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether what a flow rests on is still so: its ends, its service, its backend, its source. Used by conntrack.h. */
#ifndef SLUICEWAY_REFRESH_H
#define SLUICEWAY_REFRESH_H

#include "dp/endpoint/location.h"
#include "dp/service/service.h"
#include "dp/conntrack/flow.h"

/* The other entry of the pair that was found, under work->other; NULL: it is not here. */
static __always_inline struct flow *flow_other_half(struct scratch *work, __u8 protocol)
{
	flow_pair_key(&work->found, protocol, &work->other);
	return flow_find(&work->other);
}

/* Is the connection over that was found? */
__noinline int flow_is_closed(__u8 protocol)
{
	struct scratch *work = scratch();
	struct flow *other;
	__u32 flags;

	if (!work)
		return false;
	flags = work->found.flags;
	if (flow_has_pair(flags)) {
		other = flow_other_half(work, protocol);
		if (!other && flags & FLOW_FORWARD) /* which is stored behind its other half, and is no flow without */
			return true;
		if (other)
			flags |= other->flags & FLOW_ENDS;
	}
	return flags_are_closed(flags);
}

/* Is the entry another flow's by now, or taken up to be deleted? Read behind all that this CPU has noted in it. */
static __always_inline bool flow_has_ended(struct flow *entry, __u32 serial)
{
	__u64 word = __sync_fetch_and_or((__u64 *)entry, 0);

	return (__u32)word != serial || word >> 32 & FLOW_ENDED;
}

/*
 * Has the other end of a translated flow, in work->found, answered in this moment? What opens the connection again comes just when that end,
 * which knows it from the first time, answers again, maybe on another CPU: the client must not meet another. So that end's entry is ended
 * before it is asked, and what answers looks whether it was (ct_note_entry()): one of the two sees the other.
 */
__noinline int flow_is_answered_now(void)
{
	struct scratch *work = scratch();
	struct flow *other;
	bool is_answered;
	__u32 serial;

	if (!work)
		return false;
	other = flow_other_half(work, work->key.protocol);
	if (!other || !flow_read(other, &work->other, &work->flow))
		return false;
	serial = work->flow.serial;
	flow_note(other, serial, 0, FLOW_ENDED);
	is_answered = other->flags & FLOW_REPLIED && tick_s() - other->seen_s <= 1;
	if (is_answered)
		flow_note(other, serial, FLOW_ENDED, 0);
	return is_answered;
}

/* Has the backend left its set, or the set gone? Only asked of FLOW_FORWARD; a masqueraded flow has no set. */
static __always_inline bool flow_backend_left(const struct flow *f)
{
	struct backend *b = backend_find(f->set_id, f->slot);

	if (!f->set_id)
		return false;
	return !b || b->port != f->to_dport || !addr_equal(&b->addr, &f->to_dst);
}

/*
 * Is who was called another service's address by now than when the flow began: a service's or no more one, or of another
 * set? What was called at the reverse entry is the backend, and the forward one decides.
 */
static __noinline bool flow_service_changed(const struct flow_key *key, const struct flow *f)
{
	bool origin_hi = f->flags & FLOW_ORIGIN_HI;
	const ip_addr *called = origin_hi ? &key->lo_addr : &key->hi_addr;
	enum scope scope = f->flags & FLOW_EXTERNAL ? SCOPE_EXTERNAL : SCOPE_INTERNAL;
	struct service *s;

	if (f->flags & FLOW_REVERSE || addr_is_loopback(called))
		return false;
	s = service_find(called, origin_hi ? key->lo_port : key->hi_port, key->protocol, scope);
	return (s ? s->set_id : 0) != f->set_id;
}

/*
 * Was the flow given a source that was this node's, and is no device's any more? What is sent under it is not answered. A
 * connection cannot go on under another: its next segment begins one, which the other end refuses by a RST.
 */
static __noinline bool flow_source_left(const struct flow_key *key, const struct flow *f)
{
	const ip_addr *origin = f->flags & FLOW_ORIGIN_HI ? &key->hi_addr : &key->lo_addr;
	const struct node *n = node_now();

	if (!(f->flags & FLOW_FORWARD) || !n || addr_equal(origin, &f->to_src) || addr_is_held(&f->to_src))
		return false;
	return !addr_equal(&f->to_src, &n->addr4) && !addr_equal(&f->to_src, &n->addr6);
}

/* Where a pod of another node is that is sent what keeps its client's address: behind that node, encapsulated. */
__noinline int location_forward(const ip_addr *addr, struct peer_location *peer)
{
	struct prefix *prefix;

	if (!addr || !peer || peer->slot)
		return false;
	prefix = prefix_find(addr);
	if (!prefix || !prefix->forward_id)
		return false;
	peer->remote_id = prefix->forward_id;
	return true;
}

/*
 * Finds anew where both ends are. Of a flow that another node sends on for its client, untranslated, that end stays where it was found:
 * behind that node.
 */
__noinline int ct_refresh_ends(const struct flow_key *key, struct flow *f)
{
	struct scratch *work = scratch();
	struct tuple *t;
	__u32 origin_hi;
	__u16 via;

	if (!key || !f || !work)
		return 0;
	t = &work->inner;
	origin_hi = !!(f->flags & FLOW_ORIGIN_HI);
	t->src = origin_hi ? key->hi_addr : key->lo_addr;
	t->dst = origin_hi ? key->lo_addr : key->hi_addr;
	/* whom a translated packet reaches stands not in the key: the backend there, the client back */
	if (f->flags & FLOW_FORWARD)
		t->dst = f->to_dst;
	else if (f->flags & FLOW_REVERSE)
		t->src = f->to_dst;
	via = f->ends[origin_hi].remote_id;
	location_of(&t->src, &f->ends[origin_hi]);
	location_of(&t->dst, &f->ends[!origin_hi]);
	if (!(f->flags & FLOW_TUNNEL))
		return 0;
	if (f->flags & (FLOW_FORWARD | FLOW_REVERSE))
		location_forward(&t->dst, &f->ends[!origin_hi]);
	else
		f->ends[origin_hi].remote_id = via;
	return 0;
}

/* Are both ends where the flow has them, and has its set lost no backend since? */
static __always_inline bool flow_holds(const struct flow *f, __u32 revision)
{
	return f->revision == revision && location_holds(&f->ends[0]) && location_holds(&f->ends[1]) &&
	       (!f->set_id || f->set_revision == set_revision(f->set_id));
}

/*
 * Is what the flow remembers still so? Asked after an endpoint, a service or a backend of its set has changed, of what was
 * read: the entry stays as it is. False when the flow must begin anew: it would go elsewhere now, and the protocol has no
 * connection to lose, or its answers would not come back.
 */
__noinline int ct_refresh(void)
{
	struct scratch *work = scratch();
	const struct flow_key *key;
	const struct packet *p;
	__u32 set, revision;
	struct flow *f;

	if (!work)
		return false;
	p = &work->packet;
	f = &work->found;
	key = &work->key;
	revision = work->ct.revision;
	set = f->set_id ? set_revision(f->set_id) : 0;
	fence_reads(); /* the set's revision is read, its backends are not */
	if (f->revision != revision && flow_source_left(key, f))
		return false;
	if (!has_connections(p->protocol) || p->flags & PACKET_SYN) {
		if (f->flags & FLOW_FORWARD && flow_backend_left(f))
			return false;
		if (f->revision != revision && flow_service_changed(key, f))
			return false;
	}
	ct_refresh_ends(key, f);
	f->revision = revision;
	f->set_revision = set;
	return true;
}

#endif
