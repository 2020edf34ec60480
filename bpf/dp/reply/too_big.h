/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tells a packet's sender that it is too large for the way (RFC 1191 4, RFC 4443 3.2), where no stack would. */
#ifndef SLUICEWAY_TOO_BIG_H
#define SLUICEWAY_TOO_BIG_H

#include "dp/packet/header.h"
#include "dp/reply/icmp.h"
#include "dp/reply/refuse.h"

enum {
	ICMP_V4_FRAGMENTATION_NEEDED = 4, /* code */
	ICMP_V6_TOO_BIG = 2,
	QUOTED_OCTETS = 64, /* octets quoted behind the IP header: ports and sequence are in the first 8 */
	IP4_QUOTED = sizeof(struct iphdr) + QUOTED_OCTETS,
	IP6_QUOTED = sizeof(struct ipv6hdr) + QUOTED_OCTETS,
};

_Static_assert(sizeof(struct icmp_header) + IP6_QUOTED <= sizeof(((struct scratch *)0)->reply),
	       "room for what is told");

/* The error's own IP header, of what the packet's sender would take for its addressee. */
static __always_inline bool write_reply_ip(ctx_t *ctx, const struct packet *p, __u16 length)
{
	return p->flags & PACKET_V4 ? write_header_v4(ctx, &p->dst, &p->src, length, IPPROTO_ICMP, 0)
				    : write_header_v6(ctx, &p->dst, &p->src, length, IPPROTO_ICMPV6);
}

/*
 * The room for the error, and nothing else: what was a GSO packet, or had its checksum left to the device, is so no
 * more, for the kernel lets go of a checksum's place that is taken away.
 */
static __always_inline bool make_reply_room(ctx_t *ctx, __u32 octets)
{
	return !ctx_adjust_room(ctx, -QUOTED_OCTETS, 0) && ctx_resize(ctx, L3 + octets);
}

/* Writes the error over the packet that it is about. The packet is larger than any MTU may be small: all is there to quote. */
static __noinline bool write_too_big(ctx_t *ctx, const struct packet *p, __u32 mtu)
{
	struct scratch *work = scratch();
	struct icmp_header *icmp;
	__u32 quoted;
	csum_t sum = 0;
	bool v4;

	if (!work)
		return false;
	v4 = p->flags & PACKET_V4;
	quoted = v4 ? IP4_QUOTED : IP6_QUOTED;
	icmp = (struct icmp_header *)work->reply;
	*icmp = (struct icmp_header){.type = v4 ? ICMP_V4_UNREACHABLE : ICMP_V6_TOO_BIG,
				     .code = v4 ? ICMP_V4_FRAGMENTATION_NEEDED : 0};
	icmp->sequence = bpf_htons(mtu); /* the low half of ICMPv6's MTU field, where IPv4 has its own */
	if (v4 ? !ctx_load(ctx, L3, work->reply + 2, IP4_QUOTED) : !ctx_load(ctx, L3, work->reply + 2, IP6_QUOTED))
		return false;
	sum = csum_words(0, work->reply, (sizeof(*icmp) + IP4_QUOTED) / 4);
	if (!v4) {
		sum = csum_words(sum, work->reply + (sizeof(*icmp) + IP4_QUOTED) / 4, (IP6_QUOTED - IP4_QUOTED) / 4);
		sum += csum_pseudo(&p->dst, &p->src, IPPROTO_ICMPV6, sizeof(*icmp) + quoted);
	}
	icmp->checksum = ~csum_16(sum);
	if (!make_reply_room(ctx, header_size(v4) + sizeof(*icmp) + quoted) ||
	    !write_reply_ip(ctx, p, sizeof(*icmp) + quoted))
		return false;
	return v4 ? ctx_store_summed(ctx, L3 + sizeof(struct iphdr), work->reply, sizeof(*icmp) + IP4_QUOTED)
		  : ctx_store_summed(ctx, L3 + sizeof(struct ipv6hdr), work->reply, sizeof(*icmp) + IP6_QUOTED);
}

/*
 * Turns the translated packet into the error about it, in the words of who sent it and back to where it came from; p
 * follows. False: nobody can be told, as of a later fragment, which has no ports.
 */
__noinline int reply_too_big(ctx_t *ctx, struct packet *p, __u32 mtu)
{
	struct scratch *work = scratch();

	if (!p || !work || !write_too_big(ctx, p, mtu))
		return false;
	memset(p, 0, sizeof(*p));
	work->forward.is_translated = false;
	if (parse(ctx, p) || !icmp_find(ctx, p) || icmp_rewrite(ctx, p))
		return false;
	/* what another node's client is answered goes by the tunnel untranslated */
	return (work->forward.is_translated || !(work->found.flags & (FLOW_FORWARD | FLOW_REVERSE))) && swap_macs(ctx);
}

#endif
