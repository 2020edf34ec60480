/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Changes a packet's addresses, ports, TTL and MACs, and keeps every checksum right. */
#ifndef SLUICEWAY_REWRITE_H
#define SLUICEWAY_REWRITE_H

#include "conntrack.h"
#include "csum.h"
#include "parse.h"

/* every pod sees its node under this MAC, whatever device is between them */
#define NODE_MAC {{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}}

static __always_inline bool write_addresses(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	void *data = ctx_data(ctx);
	struct iphdr *ip4 = data + L3;
	struct ipv6hdr *ip6 = data + L3;
	csum_t diff = 0;

	if (p->flags & PACKET_V4) {
		if ((void *)(ip4 + 1) > ctx_end(ctx))
			return false;
		diff = csum_replace(diff, ip4->saddr, t->src.w[3]);
		diff = csum_replace(diff, ip4->daddr, t->dst.w[3]);
		ip4->check = csum_update(ip4->check, diff);
		ip4->saddr = t->src.w[3];
		ip4->daddr = t->dst.w[3];
		return true;
	}
	if ((void *)(ip6 + 1) > ctx_end(ctx))
		return false;
	memcpy(&ip6->saddr, &t->src, sizeof(ip_addr));
	memcpy(&ip6->daddr, &t->dst, sizeof(ip_addr));
	return true;
}

/* Where a transport header has its checksum. */
static __always_inline __u32 check_offset(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	}
	return offsetof(struct icmp_header, checksum);
}

static __always_inline bool write_ports(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	__be16 pair[2] = {t->sport, t->dport};

	if (p->flags & PACKET_ECHO)
		return ctx_store(ctx, p->l4 + offsetof(struct icmp_header, ident), pair, sizeof(pair[0]));
	return ctx_store(ctx, p->l4, pair, sizeof(pair));
}

/*
 * Gives the packet the tuple's addresses and ports; p follows. Pointers into the packet are dead afterwards.
 * A later fragment has no transport header: its datagram's sum is in the first one.
 */
__noinline int rewrite(ctx_t *ctx, struct packet *p, const struct tuple *t)
{
	csum_t addresses = 0, ports = 0;
	__u64 flags;
	__u32 at;

	if (!p || !t)
		return DROP_REWRITE;
	at = p->l4 + check_offset(p->protocol);
	flags = p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	addresses = csum_replace_addr(addresses, &p->src, &t->src);
	addresses = csum_replace_addr(addresses, &p->dst, &t->dst);
	ports = csum_replace(ports, p->sport, t->sport);
	if (!(p->flags & PACKET_ECHO)) /* which has one identifier, not two ports */
		ports = csum_replace(ports, p->dport, t->dport);
	if (!write_addresses(ctx, p, t))
		return DROP_REWRITE;
	if (p->flags & PACKET_L4 && p->flags & PACKET_PORTS) {
		/* ICMP for IPv4 has no pseudo-header (RFC 792) */
		if (p->protocol != IPPROTO_ICMP && !ctx_csum_add(ctx, at, csum_32(addresses), flags, true))
			return DROP_REWRITE;
		if (p->sport != t->sport || p->dport != t->dport) {
			if (!ctx_csum_add(ctx, at, csum_32(ports), flags, false) || !write_ports(ctx, p, t))
				return DROP_REWRITE;
		}
	}
	p->src = t->src;
	p->dst = t->dst;
	p->sport = t->sport;
	p->dport = t->dport;
	return DROP_NONE;
}

/* One hop is made (RFC 791, RFC 8200), if the packet may make one more. */
static __always_inline enum drop_reason write_hop(ctx_t *ctx, const struct packet *p)
{
	void *data = ctx_data(ctx);
	struct iphdr *ip4 = data + L3;
	struct ipv6hdr *ip6 = data + L3;

	if (p->ttl <= 1)
		return DROP_TTL;
	if (p->flags & PACKET_V4) {
		if ((void *)(ip4 + 1) > ctx_end(ctx))
			return DROP_REWRITE;
		ip4->check = csum_update(ip4->check, csum_replace(0, bpf_htons(0x0100), 0));
		ip4->ttl--;
		return DROP_NONE;
	}
	if ((void *)(ip6 + 1) > ctx_end(ctx))
		return DROP_REWRITE;
	ip6->hop_limit--;
	return DROP_NONE;
}

/* To the pod, from its node. */
static __always_inline enum drop_reason write_macs(ctx_t *ctx, const mac_addr *to)
{
	const mac_addr from = NODE_MAC;
	struct ethhdr *eth = ctx_data(ctx);

	if ((void *)(eth + 1) > ctx_end(ctx))
		return DROP_REWRITE;
	memcpy(eth->h_dest, to, sizeof(*to));
	memcpy(eth->h_source, &from, sizeof(from));
	return DROP_NONE;
}

#endif
