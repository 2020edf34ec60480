/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Answers for a service without endpoints or without the port, as a host would: TCP RST, SCTP ABORT, ICMP port unreachable. */
#ifndef SLUICEWAY_REFUSE_H
#define SLUICEWAY_REFUSE_H

#include "dp/packet/header.h"
#include "dp/packet/rewrite.h"

enum {
	/* the largest segment quoted whole: the answer, two IPv6 headers and an ICMPv6 one more, is the minimum MTU at most */
	QUOTED = 1280 - 40 - 8 - 40,
	TCP_WORDS = 15, /* of 32 bits, the longest TCP header */
};

_Static_assert((TCP_WORDS + 5) * sizeof(__be32) <= sizeof(((struct scratch *)0)->reply), "room for both headers");

static __always_inline bool swap_macs(ctx_t *ctx)
{
	struct ethhdr *eth = ctx_data(ctx);
	mac_addr mac;

	if ((void *)(eth + 1) > ctx_end(ctx))
		return false;
	memcpy(&mac, eth->h_dest, sizeof(mac));
	memcpy(eth->h_dest, eth->h_source, sizeof(mac));
	memcpy(eth->h_source, &mac, sizeof(mac));
	return true;
}

/* Turns the IP header round; length is of what follows it. */
static __always_inline bool write_answer_ip(ctx_t *ctx, const struct packet *p, __u16 length)
{
	void *data = ctx_data(ctx);
	struct iphdr *ip4 = data + L3;
	struct ipv6hdr *ip6 = data + L3;

	if (p->flags & PACKET_V4) {
		csum_t diff = 0;
		__be16 total = bpf_htons(length + sizeof(*ip4));

		if ((void *)(ip4 + 1) > ctx_end(ctx))
			return false;
		diff = csum_replace(diff, ip4->tot_len, total);
		diff = csum_replace(diff, bpf_htons((__u16)ip4->ttl << 8), bpf_htons(OWN_TTL << 8));
		ip4->tot_len = total;
		ip4->ttl = OWN_TTL;
		ip4->check = csum_update(ip4->check, diff);
		ip4->saddr = p->dst.w[3];
		ip4->daddr = p->src.w[3];
		return true;
	}
	if ((void *)(ip6 + 1) > ctx_end(ctx))
		return false;
	ip6->payload_len = bpf_htons(length);
	ip6->hop_limit = OWN_TTL;
	memcpy(&ip6->saddr, &p->dst, sizeof(ip_addr));
	memcpy(&ip6->daddr, &p->src, sizeof(ip_addr));
	return true;
}

/* The segment that answers one for a port nobody listens on (RFC 9293 3.10.7.1). */
static __always_inline struct tcphdr reset_for(const struct tcphdr *seg)
{
	struct tcphdr rst = {
		.source = seg->dest, .dest = seg->source, .doff = sizeof(rst) / 4, .rst = 1, .check = seg->check};

	if (seg->ack) {
		rst.seq = seg->ack_seq;
	} else {
		rst.ack = 1;
		rst.ack_seq = bpf_htonl(bpf_ntohl(seg->seq) + seg->syn + seg->fin);
	}
	return rst;
}

/*
 * The checksum is carried on by differences: it may be a whole one or one left to the device, and only differences
 * are right for both. So the segment must have no data, whose words would be missing.
 */
__noinline int refuse_tcp(ctx_t *ctx, const struct packet *p)
{
	struct scratch *work = scratch();
	csum_t diff = 0, length = 0;
	struct tcphdr *seg, *rst;
	__u32 octets, check;
	__be32 *old, *new;

	if (!p || !work)
		return false;
	old = work->reply;
	new = work->reply + TCP_WORDS;
	seg = (struct tcphdr *)old;
	rst = (struct tcphdr *)new;
	memset(old, 0, TCP_WORDS * sizeof(*old));
	check = p->l4 + offsetof(struct tcphdr, check);
	if (!ctx_load(ctx, p->l4, old, sizeof(*seg)))
		return false;
	octets = seg->doff * 4;
	if (octets != p->length || octets < sizeof(*seg) || octets > TCP_WORDS * sizeof(*old))
		return false;
	if (octets > sizeof(*seg) && !ctx_load(ctx, p->l4, old, octets))
		return false;
	*rst = reset_for(seg);
	for (int i = 0; i < TCP_WORDS; i++)
		diff = csum_replace(diff, old[i], i < 5 ? new[i] : 0);
	length = csum_replace(length, bpf_htons(octets), bpf_htons(sizeof(*rst)));
	if (!ctx_resize(ctx, p->l4 + sizeof(*rst)))
		return false;
	return ctx_store(ctx, p->l4, rst, sizeof(*rst)) && ctx_csum_add(ctx, check, csum_32(diff), false, false) &&
	       ctx_csum_add(ctx, check, csum_32(length), true, false) && write_answer_ip(ctx, p, sizeof(*rst));
}

/* A packet of SCTP that has one chunk, and that one nothing in it. */
struct sctp_bare {
	struct sctp_header sctp;
	struct sctp_chunk chunk;
};

static __always_inline __le32 sctp_checksum(const struct sctp_bare *packet)
{
	const __be32 *w = (const __be32 *)packet;
	__u32 sum = CRC32C_BEGIN;

	for (int i = 0; i < (int)(sizeof(*packet) / sizeof(*w)); i++)
		sum = crc32c_add(sum, w[i]);
	return crc32c_octets(~sum);
}

/*
 * The packet that answers one of an association that there is not (RFC 9260 8.4), but for its checksum. The one who asks for an
 * association knows the answer by its own tag; others by the tag that they use, which T says. False: there is none.
 */
static __always_inline bool abort_for(ctx_t *ctx, const struct packet *p, const struct sctp_bare *of,
				      struct sctp_bare *answer)
{
	*answer = (struct sctp_bare){
		.sctp = {.source = of->sctp.dest, .dest = of->sctp.source, .tag = of->sctp.tag},
		.chunk = {.type = SCTP_ABORT, .flags = SCTP_TAG_REFLECTED, .length = bpf_htons(sizeof(answer->chunk))},
	};
	switch (of->chunk.type) {
	case SCTP_INIT:
		answer->chunk.flags = 0;
		return ctx_load(ctx, p->l4 + sizeof(*of), &answer->sctp.tag, sizeof(answer->sctp.tag)) &&
		       answer->sctp.tag;
	case SCTP_SHUTDOWN_ACK:
		answer->chunk.type = SCTP_SHUTDOWN_COMPLETE;
		return true;
	case SCTP_ERROR:
	case SCTP_COOKIE_ACK:
	case SCTP_SHUTDOWN_COMPLETE:
		return false;
	}
	return true;
}

/*
 * Linux does not take ICMP for an answer of SCTP, and asks until its time is over. A checksum that is left to others stays so:
 * whatever they make of the packet has it then.
 */
__noinline int refuse_sctp(ctx_t *ctx, const struct packet *p)
{
	struct sctp_bare asked, answer;

	if (!p || p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return false;
	if (!ctx_load(ctx, p->l4, &asked, sizeof(asked)) || !abort_for(ctx, p, &asked, &answer))
		return false;
	if (!is_sctp_sum_left(ctx, asked.sctp.checksum))
		answer.sctp.checksum = sctp_checksum(&answer);
	if (!ctx_resize(ctx, p->l4 + sizeof(answer)) || !ctx_store_summed(ctx, p->l4, &answer, sizeof(answer)))
		return false;
	return write_answer_ip(ctx, p, sizeof(answer));
}

/* The sum of the words of a pseudo-header (RFC 9293 3.1, RFC 8200 8.1). */
static __always_inline csum_t csum_pseudo(const ip_addr *src, const ip_addr *dst, __u8 protocol, __u16 length)
{
	csum_t sum = 0;

	sum = csum_add_addr(sum, src);
	sum = csum_add_addr(sum, dst);
	return sum + bpf_htons(protocol) + bpf_htons(length);
}

/*
 * What a whole transport segment with a right checksum sums up to: the complement of its pseudo-header's sum. True
 * as well of one whose checksum is still left to the device, once the device has filled it in.
 * addr_v4()'s prefix counts twice in a pseudo-header of ours, and is taken out again.
 */
static __always_inline csum_t csum_segment(const struct packet *p)
{
	csum_t sum = csum_pseudo(&p->src, &p->dst, p->protocol, p->length);

	if (p->flags & PACKET_V4)
		sum += 2ULL * (__u32)~MAPPED_PREFIX;
	return (__u16)~csum_16(sum);
}

static __always_inline bool write_unreachable_v4(ctx_t *ctx, const struct packet *p)
{
	__u16 total = sizeof(struct iphdr) + sizeof(struct icmp_header) + sizeof(struct iphdr) + p->length;
	struct {
		struct iphdr ip;
		struct icmp_header icmp;
	} h = {
		.ip = {.version = 4,
		       .ihl = 5,
		       .tot_len = bpf_htons(total),
		       .ttl = OWN_TTL,
		       .protocol = IPPROTO_ICMP,
		       .saddr = p->dst.w[3],
		       .daddr = p->src.w[3]},
		.icmp = {.type = ICMP_V4_UNREACHABLE, .code = ICMP_V4_PORT_UNREACHABLE},
	};

	h.ip.check = ~csum_16(csum_words(0, (const __be32 *)&h.ip, sizeof(h.ip) / 4));
	/* a right IPv4 header sums to nothing */
	h.icmp.checksum = ~csum_16(bpf_htons(ICMP_V4_UNREACHABLE << 8 | ICMP_V4_PORT_UNREACHABLE) + csum_segment(p));
	return ctx_store(ctx, L3, &h, sizeof(h));
}

static __always_inline bool write_unreachable_v6(ctx_t *ctx, const struct packet *p, const struct ipv6hdr *quoted)
{
	__u16 length = sizeof(struct icmp_header) + sizeof(*quoted) + p->length;
	struct {
		struct ipv6hdr ip;
		struct icmp_header icmp;
	} h = {
		.ip = {.version = 6, .payload_len = bpf_htons(length), .nexthdr = IPPROTO_ICMPV6, .hop_limit = OWN_TTL},
		.icmp = {.type = ICMP_V6_UNREACHABLE, .code = ICMP_V6_PORT_UNREACHABLE},
	};
	csum_t sum = csum_pseudo(&p->dst, &p->src, IPPROTO_ICMPV6, length);

	memcpy(&h.ip.saddr, &p->dst, sizeof(ip_addr));
	memcpy(&h.ip.daddr, &p->src, sizeof(ip_addr));
	sum = csum_words(sum, (const __be32 *)quoted, sizeof(*quoted) / 4);
	sum += bpf_htons(ICMP_V6_UNREACHABLE << 8 | ICMP_V6_PORT_UNREACHABLE) + csum_segment(p);
	h.icmp.checksum = ~csum_16(sum);
	return ctx_store(ctx, L3, &h, sizeof(h));
}

/* Puts IP and ICMP headers before the packet, which is quoted whole (RFC 792, RFC 4443 3.1). */
__noinline int refuse_icmp(ctx_t *ctx, const struct packet *p)
{
	struct ipv6hdr quoted = {};
	__sum16 check = 0;
	__u32 room;
	bool v4;

	if (!p)
		return false;
	v4 = p->flags & PACKET_V4;
	room = sizeof(struct icmp_header) + (v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	if (p->length > QUOTED || p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return false;
	/* a UDP packet without a checksum sums up to anything */
	if (p->protocol == IPPROTO_UDP &&
	    (!ctx_load(ctx, p->l4 + offsetof(struct udphdr, check), &check, sizeof(check)) || !check))
		return false;
	if (!v4 && !ctx_load(ctx, L3, &quoted, sizeof(quoted)))
		return false;
	if (!ctx_add_room(ctx, room))
		return false;
	return v4 ? write_unreachable_v4(ctx, p) : write_unreachable_v6(ctx, p, &quoted);
}

/*
 * Turns the packet into its refusal, to be sent back where it came from.
 * False: no answer can be made (an RST is never answered, options and long datagrams are not).
 */
static __always_inline bool refuse(ctx_t *ctx, const struct packet *p)
{
	__u32 plain = L3 + (p->flags & PACKET_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	bool done = false;

	if (p->l4 != plain || p->flags & PACKET_RST || !(p->flags & PACKET_L4))
		return false;
	if (p->protocol == IPPROTO_SCTP)
		return refuse_sctp(ctx, p) && swap_macs(ctx);
	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP)
		return false;
	if (p->protocol == IPPROTO_TCP)
		done = refuse_tcp(ctx, p);
	if (!done)
		done = refuse_icmp(ctx, p);
	return done && swap_macs(ctx);
}

#endif
