/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* IPv6's extension headers, between its header and the transport's. */
#ifndef SLUICEWAY_EXTENSION_H
#define SLUICEWAY_EXTENSION_H

#include "dp/abi/drop.h"
#include "dp/packet/ctx.h"
#include "dp/packet/packet.h"

/* at most 8 extension headers, as the kernel's own flow dissector; a packet has seldom one (RFC 8504 5.3) */
enum { EXTENSION_HEADERS = 8 };

/* An extension header that only says where the next begins (RFC 8200 4.3 to 4.6). */
struct extension {
	__u8 next;
	__u8 length; /* in units of 8 octets, not counting the first */
	__u16 offset;
	__be32 ident; /* fragment header: the datagram's */
};

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS ||
	       protocol == IPPROTO_FRAGMENT;
}

static __always_inline void note_fragment(struct packet *p, const struct extension *x)
{
	p->ident = x->ident;
	if (bpf_ntohs(x->offset) & 0xfff8)
		p->flags |= PACKET_LATER_FRAGMENT;
	else if (bpf_ntohs(x->offset) & 1)
		p->flags |= PACKET_FIRST_FRAGMENT;
}

/*
 * Sets protocol, l4 and length behind the extension header that is at l4. It is copied, not looked at in place: of a pointer into the packet
 * the verifier remembers each way that it came by. A step of its own, verified once and not in each turn of the loop.
 */
__noinline int parse_extension(ctx_t *ctx, struct packet *p)
{
	struct extension x;
	__u32 size;

	if (!p)
		return DROP_BAD_HEADER;
	if (!ctx_load(ctx, p->l4, &x, sizeof(x)))
		return DROP_SHORT_PACKET;
	size = sizeof(x);
	if (p->protocol == IPPROTO_FRAGMENT)
		note_fragment(p, &x);
	else
		size += x.length * 8;
	p->protocol = x.next;
	if (size > p->length)
		return DROP_BAD_HEADER;
	p->l4 += size;
	p->length -= size;
	return DROP_NONE;
}

/* Sets protocol, l4 and length behind the extension headers. */
static __always_inline enum drop_reason parse_extensions(ctx_t *ctx, struct packet *p)
{
	enum drop_reason why;

	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		if (!is_extension(p->protocol) || p->flags & PACKET_LATER_FRAGMENT)
			return DROP_NONE;
		why = parse_extension(ctx, p);
		if (why)
			return why;
	}
	return is_extension(p->protocol) ? DROP_EXTENSION_HEADERS : DROP_NONE;
}

#endif
