/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From octets to one struct packet that the rest of the datapath speaks of. */
#ifndef SLUICEWAY_PARSE_H
#define SLUICEWAY_PARSE_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "dp/abi/drop.h"
#include "dp/packet/cursor.h"
#include "dp/packet/extension.h"
#include "dp/packet/packet.h"

/* Both versions of ICMP (RFC 792, RFC 4443 2.1); the kernel's headers need a C library's. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 ident; /* echo's; other types have other things here */
	__be16 sequence;
};

/* RFC 9260 3.1 and 3.2; the kernel's header of it needs a C library's. Behind the first there is a chunk, at least. */
struct sctp_header {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__le32 checksum;
};

struct sctp_chunk {
	__u8 type;
	__u8 flags;
	__be16 length;
};

/* Of SCTP's chunks (RFC 9260 3.2) those that say something of the association. */
enum {
	SCTP_INIT = 1,
	SCTP_INIT_ACK = 2,
	SCTP_HEARTBEAT = 4,
	SCTP_ABORT = 6,
	SCTP_SHUTDOWN = 7,
	SCTP_SHUTDOWN_ACK = 8,
	SCTP_ERROR = 9,
	SCTP_COOKIE_ACK = 11,
	SCTP_SHUTDOWN_COMPLETE = 14,
	SCTP_TAG_REFLECTED = 1, /* a flag of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own, sent back */
};

enum {
	ICMP_V4_UNREACHABLE = 3,
	ICMP_V4_TIME_EXCEEDED = 11,
	ICMP_V4_PARAMETER_PROBLEM = 12,
	ICMP_V4_PORT_UNREACHABLE = 3, /* code */
	ICMP_V6_UNREACHABLE = 1,
	ICMP_V6_PORT_UNREACHABLE = 4, /* code */
};

static __always_inline bool icmp_v4_is_error(__u8 type)
{
	return type == ICMP_V4_UNREACHABLE || type == ICMP_V4_TIME_EXCEEDED || type == ICMP_V4_PARAMETER_PROBLEM;
}

/* Request or answer (RFC 792, RFC 4443 4). */
static __always_inline bool icmp_is_echo(__u8 protocol, __u8 type)
{
	return protocol == IPPROTO_ICMP ? type == 0 || type == 8 : type == 128 || type == 129;
}

/* RFC 4443 2.1: below 128 */
static __always_inline bool icmp_v6_is_error(__u8 type)
{
	return type < 128;
}

/* Multicast listener discovery (RFC 2710, RFC 3810), neighbour discovery (RFC 4861). */
static __always_inline bool icmp_v6_is_of_link(__u8 type)
{
	return (type >= 130 && type <= 137) || type == 143;
}

static __always_inline enum drop_reason parse_tcp(struct cursor *c, struct packet *p)
{
	struct tcphdr *tcp = take_header(c, struct tcphdr);

	if (!tcp)
		return DROP_SHORT_PACKET;
	p->sport = tcp->source;
	p->dport = tcp->dest;
	p->flags |= PACKET_PORTS | PACKET_L4;
	if (tcp->syn)
		p->flags |= tcp->ack ? PACKET_OPENS : PACKET_OPENS | PACKET_SYN;
	if (tcp->fin)
		p->flags |= PACKET_FIN;
	if (tcp->rst)
		p->flags |= PACKET_RST;
	return DROP_NONE;
}

static __always_inline enum drop_reason parse_udp(struct cursor *c, struct packet *p)
{
	struct udphdr *udp = take_header(c, struct udphdr);

	if (!udp)
		return DROP_SHORT_PACKET;
	p->sport = udp->source;
	p->dport = udp->dest;
	p->flags |= PACKET_PORTS | PACKET_L4;
	return DROP_NONE;
}

/*
 * What a packet's first chunk says of its association, in TCP's words. INIT, its acknowledgement and SHUTDOWN COMPLETE stand alone
 * (RFC 9260 6.10), and the others first where Linux sends them.
 */
static __always_inline __u16 sctp_flags(__u8 type)
{
	switch (type) {
	case SCTP_INIT:
		return PACKET_SYN | PACKET_OPENS;
	case SCTP_INIT_ACK:
	case SCTP_HEARTBEAT:
		return PACKET_OPENS;
	case SCTP_ABORT:
		return PACKET_RST;
	case SCTP_SHUTDOWN:
	case SCTP_SHUTDOWN_ACK:
	case SCTP_SHUTDOWN_COMPLETE:
		return PACKET_FIN;
	}
	return 0;
}

static __always_inline enum drop_reason parse_sctp(struct cursor *c, struct packet *p)
{
	struct sctp_header *sctp = take_header(c, struct sctp_header);

	if (!sctp)
		return DROP_SHORT_PACKET;
	p->sport = sctp->source;
	p->dport = sctp->dest;
	p->flags |= PACKET_PORTS | PACKET_L4;
	return DROP_NONE;
}

static __always_inline enum drop_reason parse_icmp(struct cursor *c, struct packet *p)
{
	struct icmp_header *icmp = take_header(c, struct icmp_header);

	if (!icmp)
		return DROP_SHORT_PACKET;
	p->flags |= PACKET_L4;
	if (p->protocol == IPPROTO_ICMP ? icmp_v4_is_error(icmp->type) : icmp_v6_is_error(icmp->type))
		p->flags |= PACKET_ICMP_ERROR;
	if (p->protocol == IPPROTO_ICMPV6 && icmp_v6_is_of_link(icmp->type))
		p->flags |= PACKET_LINK;
	if (icmp_is_echo(p->protocol, icmp->type)) {
		p->sport = p->dport = icmp->ident;
		p->flags |= PACKET_PORTS | PACKET_ECHO;
	}
	return DROP_NONE;
}

static __always_inline enum drop_reason parse_transport(struct cursor *c, struct packet *p)
{
	if (p->flags & PACKET_LATER_FRAGMENT)
		return DROP_NONE;
	switch (p->protocol) {
	case IPPROTO_TCP:
		return parse_tcp(c, p);
	case IPPROTO_UDP:
		return parse_udp(c, p);
	case IPPROTO_SCTP:
		return parse_sctp(c, p);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return parse_icmp(c, p);
	}
	return DROP_NONE;
}

/*
 * Octets from the IP header on, where its length field says none: there is no room in it for TCP's GSO packets of more
 * than 64 KiB ("BIG TCP"; iph_totlen() of Linux 6.3). 0: it is no GSO packet.
 */
static __always_inline __u32 length_of_big(const ctx_t *ctx)
{
	return ctx_gso_size(ctx) ? ctx_length(ctx) - L3 : 0;
}

/* TCP, or an IP packet, which is TCP's then: other GSO packets are never so large. */
static __always_inline bool may_be_big(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

static __always_inline enum drop_reason parse_v4(const ctx_t *ctx, struct cursor *c, struct packet *p)
{
	struct iphdr *ip = take_header(c, struct iphdr);
	__u32 options, length;
	__u16 fragment;

	if (!ip)
		return DROP_SHORT_PACKET;
	length = bpf_ntohs(ip->tot_len);
	if (!length && may_be_big(ip->protocol))
		length = length_of_big(ctx);
	if (ip->version != 4 || ip->ihl < 5 || length < ip->ihl * 4)
		return DROP_BAD_HEADER;
	p->src = addr_v4(ip->saddr);
	p->dst = addr_v4(ip->daddr);
	p->protocol = ip->protocol;
	p->ttl = ip->ttl;
	p->flags = PACKET_V4;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & 0x1fff)
		p->flags |= PACKET_LATER_FRAGMENT;
	else if (fragment & 0x2000)
		p->flags |= PACKET_FIRST_FRAGMENT;
	if (fragment & 0x4000)
		p->flags |= PACKET_WHOLE;
	p->ident = ip->id;
	options = ip->ihl * 4 - sizeof(*ip);
	p->l4 = L3 + sizeof(*ip) + options;
	p->length = length - ip->ihl * 4;
	if (options && !take(c, options & 0x3c))
		return DROP_SHORT_PACKET;
	return parse_transport(c, p);
}

static __always_inline enum drop_reason parse_v6(ctx_t *ctx, struct cursor *c, struct packet *p)
{
	struct ipv6hdr *ip = take_header(c, struct ipv6hdr);
	enum drop_reason why;
	bool has_extensions;
	__u32 big;

	if (!ip)
		return DROP_SHORT_PACKET;
	big = ip->payload_len ? 0 : length_of_big(ctx);
	if (ip->version != 6)
		return DROP_BAD_HEADER;
	p->src = addr_v6(&ip->saddr);
	p->dst = addr_v6(&ip->daddr);
	if (addr_is_v4(&p->src) || addr_is_v4(&p->dst))
		return DROP_MAPPED_ADDRESS;
	p->protocol = ip->nexthdr;
	p->ttl = ip->hop_limit;
	p->flags = 0;
	p->l4 = L3 + sizeof(*ip);
	p->length = big ? big - sizeof(*ip) : bpf_ntohs(ip->payload_len);
	/* of a big one a jumbo payload's (RFC 2675), which says the length again */
	has_extensions = is_extension(p->protocol);
	why = has_extensions ? parse_extensions(ctx, p) : DROP_NONE;
	if (!why && big && !may_be_big(p->protocol))
		return DROP_BAD_HEADER;
	if (!(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT)))
		p->flags |= PACKET_WHOLE;
	if (has_extensions)
		*c = cursor_at(ctx, p->l4 & 0x7fff); /* it is less, and the verifier wants to see it */
	return why ? why : parse_transport(c, p);
}

/*
 * Reads the headers that are in the linear part. Not static, as the other large steps: the verifier then judges it once, by itself (and
 * wants its pointers checked), not once for each way that leads here.
 */
__noinline int parse_linear(ctx_t *ctx, struct packet *p)
{
	struct cursor c = cursor_at(ctx, 0);
	struct ethhdr *eth = take_header(&c, struct ethhdr);

	if (!p)
		return DROP_REWRITE;
	if (!eth)
		return DROP_SHORT_PACKET;
	p->ethertype = eth->h_proto;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_v4(ctx, &c, p);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_v6(ctx, &c, p);
	p->flags = PACKET_OTHER;
	return DROP_NONE;
}

/* Octets of a transport header whose ports are read. */
static __always_inline __u32 transport_size(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return sizeof(struct tcphdr);
	case IPPROTO_SCTP:
		return sizeof(struct sctp_header) + sizeof(struct sctp_chunk);
	}
	return sizeof(struct udphdr); /* and ICMP's */
}

/*
 * Does the datagram end inside the transport header? Octets that pad the frame behind it are dropped by who receives it, and of a
 * first fragment the header follows in the next, with what ports it likes (RFC 7112).
 */
static __always_inline bool is_cut_short(const struct packet *p)
{
	return p->flags & PACKET_L4 && p->length < transport_size(p->protocol);
}

/* headers that are asked for when the linear part is short of them: Ethernet, IPv6, some extensions, TCP */
enum { PULL = 192 };

/* Reads the headers, pulling them into the linear part when they are not there. */
static __always_inline int parse_headers(ctx_t *ctx, struct packet *p)
{
	int why = parse_linear(ctx, p);

	if (why != DROP_SHORT_PACKET || ctx_is_linear(ctx) || !ctx_pull(ctx, PULL))
		return why;
	return parse_linear(ctx, p);
}

/*
 * SCTP's first chunk stays where it is: a GSO packet's linear part ends before it, and what is in each further buffer becomes a packet of
 * its own.
 */
__noinline int parse_chunk(ctx_t *ctx, struct packet *p)
{
	struct sctp_chunk chunk;

	if (!p || !ctx_load(ctx, p->l4 + sizeof(struct sctp_header), &chunk, sizeof(chunk)))
		return DROP_SHORT_PACKET;
	p->flags |= sctp_flags(chunk.type);
	return DROP_NONE;
}

/* Reads a packet. Returns DROP_NONE, or why it can not be read. */
static __always_inline int parse(ctx_t *ctx, struct packet *p)
{
	int why = parse_headers(ctx, p);

	if (!why && is_cut_short(p))
		return DROP_SHORT_PACKET;
	return !why && p->protocol == IPPROTO_SCTP && p->flags & PACKET_L4 ? parse_chunk(ctx, p) : why;
}

/* len octets at an offset of the transport header, all of which parse() has seen in the linear part. */
static __always_inline void *transport_at(const ctx_t *ctx, __u32 at, __u32 len)
{
	void *found = ctx_data(ctx);

	if (at > 0xfff) /* the verifier wants a bound; headers end long before */
		return NULL;
	barrier_var(at);
	at &= 0xfff; /* which the compiler knows, and Linux 6.1's verifier not of a copy on the stack */
	found += at;
	return found + len > ctx_end(ctx) ? NULL : found;
}

#endif
