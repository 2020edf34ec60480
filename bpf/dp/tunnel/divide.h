/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * IPv6 fragments of our own (RFC 8200 4.5) of what a process of this node sends, where the tunnel carries less than the way that
 * its stack made it for, and the stack would not divide what programs give it once more. The first part goes on; a copy comes in
 * once more behind it, as what is left. So there may be any number of parts, and each is made with nothing but its own packet.
 */
#ifndef SLUICEWAY_DIVIDE_H
#define SLUICEWAY_DIVIDE_H

#include "dp/packet/segment.h"
#include "dp/tunnel/tunnel.h"

enum {
	DIVIDED_OCTETS =
		16000, /* of a frame; the kernel makes no room in one of more than SKB_MAX_ALLOC (16,064, of 4 KiB pages) */
	SUMMED_OCTETS = 512, /* that bpf_csum_diff() takes at a time (MAX_BPF_STACK) */
	TAKEN_OCTETS = 4088, /* that are taken away at a time: the kernel does up to 4,095, and parts are of 8 */
	FRAGMENT_MORE = 1,   /* in the fragment header: it is not the last */
};

/* What each fragment begins with. */
struct fragment_start {
	struct ipv6hdr ip;
	struct extension fragment;
};

/* And the first of a datagram, with octets enough that taking them away takes the checksum's place in the buffer away, too. */
struct datagram_start {
	struct fragment_start start;
	struct udphdr udp;
	__u8 data[16];
};

enum { WHOLE_START = sizeof(struct datagram_start) - sizeof(struct extension) /* the same of the whole datagram */ };

_Static_assert(sizeof(struct datagram_start) <= sizeof(((struct scratch *)0)->part), "room for what is made");
_Static_assert(SUMMED_OCTETS == sizeof(((struct scratch *)0)->part), "summed up there");

/* Is it IPv6 of a form that is divided here: UDP, or a fragment, with no header between? Segments of a GSO packet are not. */
static __always_inline bool is_divided_here(const ctx_t *ctx, const struct packet *p)
{
	struct ipv6hdr *ip = ctx_data(ctx) + L3;

	if (p->flags & (PACKET_V4 | PACKET_WHOLE) || ctx_gso_size(ctx) || ctx_length(ctx) > DIVIDED_OCTETS)
		return false;
	return (void *)(ip + 1) <= ctx_end(ctx) && (ip->nexthdr == IPPROTO_UDP || ip->nexthdr == IPPROTO_FRAGMENT);
}

/*
 * Adds the next octets of the datagram, of which so many are left, to the sum in the scratch. Returns how many they were; 0: they cannot be
 * read. A step of its own, verified once.
 */
__noinline int sum_part(ctx_t *ctx, __u32 at, __u32 left)
{
	int octets = left < SUMMED_OCTETS ? left : SUMMED_OCTETS;
	struct scratch *work = scratch();

	if (!work)
		return 0;
	if (octets < SUMMED_OCTETS)
		memset(work->part, 0, sizeof(work->part));
	barrier_var(octets); /* the compiler knows its range, Linux 6.1's verifier does not */
	if (octets < 1)
		return 0;
	barrier_var(octets); /* else both comparisons become one of a difference, of which that one learns nothing */
	if (octets > SUMMED_OCTETS || !ctx_load(ctx, at, work->part, octets))
		return 0;
	work->sum = bpf_csum_diff(NULL, 0, work->part, SUMMED_OCTETS, work->sum);
	return octets;
}

/* Adds up the datagram from its transport header on, with what its checksum field holds. False: it cannot be read. */
static __always_inline bool sum_up(ctx_t *ctx, struct scratch *work)
{
	__u32 at = work->packet.l4, left = work->packet.length;

	work->sum = 0;
	for (int i = 0; i <= DIVIDED_OCTETS / SUMMED_OCTETS && left; i++) {
		__u32 octets = sum_part(ctx, at, left);

		if (!octets)
			return false;
		at += octets;
		left -= octets;
	}
	return !left;
}

/* Completes a checksum that is left to the device: nobody could do so for a part. */
static __always_inline bool complete_sum(ctx_t *ctx, struct scratch *work)
{
	struct datagram_start *d = (void *)work->part;
	__u32 sum = 0;

	if (ctx_sum(ctx, true) == CTX_SUM_PARTIAL) {
		if (!sum_up(ctx, work))
			return false;
		sum = (__u16)~csum_16(work->sum);
		if (!sum)
			sum = 0xffff; /* zero says that there is none (RFC 768) */
	}
	if (!ctx_load(ctx, work->packet.l4, &d->udp, sizeof(d->udp) + sizeof(d->data)))
		return false;
	if (sum)
		d->udp.check = sum;
	return true;
}

/*
 * Makes a whole datagram the one fragment of it (RFC 6946), for fragments to be made of. What it begins with is taken away once: the
 * kernel lets go of a checksum's place that is, and so sees no sum left to the device any more.
 */
static __noinline bool begin_fragments(ctx_t *ctx, struct scratch *work)
{
	struct datagram_start *d = (void *)work->part;
	struct fragment_start *s = &d->start;

	if (!complete_sum(ctx, work) || !ctx_load(ctx, L3, &s->ip, sizeof(s->ip)))
		return false;
	s->fragment = (struct extension){.next = s->ip.nexthdr, .ident = bpf_get_prandom_u32()};
	s->ip.nexthdr = IPPROTO_FRAGMENT;
	s->ip.payload_len = bpf_htons(work->packet.length + sizeof(s->fragment));
	return !ctx_adjust_room(ctx, -WHOLE_START, 0) && !ctx_adjust_room(ctx, sizeof(*d), 0) &&
	       ctx_store(ctx, L3, d, sizeof(*d));
}

/* Octets of each part but the last. */
static __always_inline __u32 part_octets(__u32 mtu)
{
	return (mtu - sizeof(struct fragment_start)) & ~7U;
}

static __always_inline void resize_payload(struct fragment_start *s, __s32 octets)
{
	s->ip.payload_len = bpf_htons(bpf_ntohs(s->ip.payload_len) + octets);
}

/* Takes the part off that has gone ahead. */
static __noinline bool take_part(ctx_t *ctx, struct fragment_start *s, __u32 part)
{
	resize_payload(s, -(__s32)part);
	s->fragment.offset = bpf_htons(bpf_ntohs(s->fragment.offset) + part);
	for (int i = 0; i <= DIVIDED_OCTETS / TAKEN_OCTETS && part; i++) {
		__u32 octets = part < TAKEN_OCTETS ? part : TAKEN_OCTETS;

		if (ctx_adjust_room(ctx, -(__s32)octets, 0))
			return false;
		part -= octets;
	}
	return !part && ctx_store(ctx, L3, s, sizeof(*s));
}

/* Leaves the first part, and has what is left come in behind it. */
static __noinline bool leave_part(ctx_t *ctx, struct fragment_start *s, __u32 part)
{
	__u32 octets = sizeof(s->fragment) + part;
	bool sent;

	ctx_set_rest(ctx, true);
	sent = ctx_requeue_copy(ctx);
	ctx_set_rest(ctx, false);
	s->ip.payload_len = bpf_htons(octets);
	s->fragment.offset |= bpf_htons(FRAGMENT_MORE);
	return sent && ctx_resize(ctx, L3 + sizeof(s->ip) + octets) && ctx_store(ctx, L3, s, sizeof(*s));
}

/*
 * Makes a packet that is_divided_here() the first part of itself, or of what is left of it; the packet being processed follows. Returns why it
 * cannot.
 */
__noinline int divide(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct fragment_start *s;
	__u32 mtu = 0;

	if (!work)
		return DROP_REWRITE;
	fits_tunnel_mtu(ctx, &mtu);
	s = (struct fragment_start *)work->part;
	if (mtu < sizeof(*s) + 8)
		return DROP_TOO_BIG;
	if (!ctx_load(ctx, L3, s, sizeof(*s)))
		return DROP_REWRITE;
	if (s->ip.nexthdr == IPPROTO_UDP && !begin_fragments(ctx, work))
		return DROP_REWRITE;
	if (s->ip.nexthdr != IPPROTO_FRAGMENT) /* a segment, and the MTU has just become less */
		return DROP_TOO_BIG;
	if (ctx_is_rest(ctx)) {
		ctx_set_rest(ctx, false);
		if (!take_part(ctx, s, part_octets(mtu)))
			return DROP_REWRITE;
	}
	if (!fits_tunnel(ctx) && !leave_part(ctx, s, part_octets(mtu)))
		return DROP_REWRITE;
	work->forward.octets = ctx_length(ctx);
	memset(&work->packet, 0, sizeof(work->packet));
	return parse(ctx, &work->packet);
}

#endif
