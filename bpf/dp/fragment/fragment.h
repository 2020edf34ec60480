/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Later fragments carry no ports: they are kept from the datagram's first. */
#ifndef SLUICEWAY_FRAGMENT_H
#define SLUICEWAY_FRAGMENT_H

#include "dp/abi/fragment.h"
#include "dp/config.h"
#include "dp/endpoint/interface.h"
#include "dp/packet/packet.h"
#include "dp/packet/scratch.h"

EXPORT_ENUM(fragment_flag);

enum {
	/* the least that a host waits for a datagram's fragments (RFC 791 3.2); then ident is another's */
	FRAGMENT_LIFE_S = 15,
	FRAGMENT_EXISTS = -17, /* -EEXIST */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fragments SEC(".maps") PROGRAMS_WRITE;

static __always_inline void fragment_key_of(const struct packet *p, struct fragment_key *key)
{
	*key = (struct fragment_key){
		.src = p->src,
		.dst = p->dst,
		.ident = p->ident,
		.protocol = p->flags & PACKET_V4 ? p->protocol : 0,
		.network = own_slot,
	};
}

static __always_inline bool fragment_is_fresh(__u32 now_s, __u32 seen_s)
{
	return (__s32)(now_s - seen_s) <= FRAGMENT_LIFE_S; /* CPUs' clocks may be a tick apart */
}

/* Gives a later fragment the protocol and ports of its datagram when the first went by here. */
static __noinline void fragment_ports(struct packet *p)
{
	struct scratch *work = scratch();
	struct fragment *f;

	if (!work)
		return;
	fragment_key_of(p, &work->datagram);
	f = bpf_map_lookup_elem(&fragments, &work->datagram);
	if (!f || !(f->flags & FRAGMENT_FIRST) || !fragment_is_fresh(tick_s(), f->seen_s))
		return;
	p->flags |= PACKET_FOLLOWS;
	p->protocol = f->protocol;
	if (!(f->flags & FRAGMENT_PORTS))
		return;
	p->sport = f->sport;
	p->dport = f->dport;
	p->flags |= PACKET_PORTS;
}

/* Writes down what is known of the datagram: all of its first fragment, nothing of a later one. */
static __always_inline struct fragment *fragment_fresh(struct scratch *work, const struct packet *p)
{
	struct fragment *f = &work->fragment;

	memset(f, 0, sizeof(*f));
	fragment_key_of(p, &work->datagram);
	f->seen_s = tick_s();
	if (p->flags & PACKET_LATER_FRAGMENT)
		return f;
	f->flags = FRAGMENT_FIRST;
	f->protocol = p->protocol;
	if (p->flags & PACKET_PORTS) {
		f->flags |= FRAGMENT_PORTS;
		f->sport = p->sport;
		f->dport = p->dport;
	}
	return f;
}

/* Remembers a first fragment's ports. Returns whether later ones have come before it. */
static __noinline bool fragment_first(const struct packet *p)
{
	struct scratch *work = scratch();
	struct fragment *f, *old;
	int error; /* no long: before Linux 6.4 its upper half is anything */

	if (!work)
		return false;
	f = fragment_fresh(work, p);
	error = bpf_map_update_elem(&fragments, &work->datagram, f, BPF_NOEXIST);
	if (error != FRAGMENT_EXISTS)
		return false;
	old = bpf_map_lookup_elem(&fragments, &work->datagram);
	if (old && old->flags & FRAGMENT_FIRST)
		old = NULL; /* of another datagram long ago, or the same one twice */
	bpf_map_update_elem(&fragments, &work->datagram, f, BPF_ANY);
	return old;
}

/* What goes by in order, as the stack sends it: the first is remembered, the later ones get its ports. */
static __always_inline void fragment_follow(struct packet *p)
{
	if (p->flags & PACKET_LATER_FRAGMENT)
		fragment_ports(p);
	else if (p->flags & PACKET_FIRST_FRAGMENT)
		fragment_first(p);
}

#endif
