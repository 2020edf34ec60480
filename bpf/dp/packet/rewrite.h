/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Changes a packet's addresses, ports, TTL and MACs, and keeps every checksum right. */
#ifndef SLUICEWAY_REWRITE_H
#define SLUICEWAY_REWRITE_H

#include "dp/packet/scratch.h"
#include "dp/packet/csum.h"
#include "dp/packet/parse.h"
#include "dp/packet/sctp.h"

/* What the addresses' change adds to a sum over them. */
static __always_inline csum_t addresses_diff(const struct packet *p, const struct tuple *t)
{
	csum_t diff = 0;

	if (p->flags & PACKET_V4) {
		diff = csum_replace(diff, p->src.w[3], t->src.w[3]);
		return csum_replace(diff, p->dst.w[3], t->dst.w[3]);
	}
	diff = csum_replace_addr(diff, &p->src, &t->src);
	return csum_replace_addr(diff, &p->dst, &t->dst);
}

/*
 * The addresses in the IP header. A sum of the whole packet that the kernel trusts (CHECKSUM_COMPLETE) stays right: in
 * IPv4 the header's checksum makes up for them. In IPv6 nothing does in a later fragment, and in others the transport's
 * does, though the kernel's helper takes it for IPv4's and takes them off the sum (before BPF_F_IPV6, Linux 6.16).
 */
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
	ctx_csum_complete(ctx, csum_32(addresses_diff(p, t)));
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

/*
 * Adds the ports' change to the sum at `at`. Before the kernel added the addresses' change it was `before`: what it is
 * now tells whether it is a whole sum (RFC 1624) or one left to the device (CHECKSUM_PARTIAL), which covers the
 * pseudo-header alone. The two differ unless nothing was added. Looking costs half of what a second call does.
 */
static __always_inline bool write_ports_sum(ctx_t *ctx, __u32 at, __sum16 before, csum_t addresses, csum_t ports,
					    bool udp)
{
	__sum16 *sum = transport_at(ctx, at, sizeof(*sum));
	__u16 added = csum_16(addresses);

	if (!sum)
		return false;
	if (added == 0 || added == 0xffff)
		return ctx_csum_add(ctx, at, csum_32(ports), false, udp);
	if (*sum == csum_16((csum_t)before + added))
		return true;
	*sum = csum_update(*sum, ports);
	if (udp && !*sum)
		*sum = 0xffff; /* zero says that there is no sum (RFC 768) */
	return true;
}

/* Leaves to the kernel what it alone knows of the sum, and how to keep a sum of the whole packet right. */
static __always_inline bool write_sum_by_kernel(ctx_t *ctx, __u32 at, __sum16 before, csum_t addresses, csum_t ports,
						bool udp)
{
	return ctx_csum_add(ctx, at, csum_32(addresses), true, udp) &&
	       write_ports_sum(ctx, at, before, addresses, ports, udp);
}

static __always_inline bool write_sum(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	bool udp = p->protocol == IPPROTO_UDP;
	__u32 at = p->l4 + check_offset(p->protocol);
	__sum16 *check = transport_at(ctx, at, sizeof(*check));
	csum_t addresses = addresses_diff(p, t), ports = 0;
	enum ctx_sum sum = ctx_sum(ctx, udp);

	if (!check)
		return false;
	if (udp && !*check)
		return true;
	ports = csum_replace(ports, p->sport, t->sport);
	ports = csum_replace(ports, p->dport, t->dport);
	if (sum == CTX_SUM_OTHER)
		return write_sum_by_kernel(ctx, at, *check, addresses, ports, udp);
	csum_write(check, sum, csum_16(addresses), csum_16(ports), udp);
	return true;
}

static __always_inline bool write_ports(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	__be16 *ports = transport_at(ctx, p->l4, 2 * sizeof(*ports));

	if (!ports)
		return false;
	ports[0] = t->sport;
	ports[1] = t->dport;
	return true;
}

/* An echo has one identifier and no ports; its sum has a pseudo-header in IPv6 alone (RFC 792, RFC 4443 2.3). */
static __always_inline bool write_echo(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	__u32 at = p->l4 + offsetof(struct icmp_header, checksum);
	csum_t ident = csum_replace(0, p->sport, t->sport);

	if (p->protocol == IPPROTO_ICMPV6 && !ctx_csum_add(ctx, at, csum_32(addresses_diff(p, t)), true, false))
		return false;
	return ctx_csum_add(ctx, at, csum_32(ident), false, false) &&
	       ctx_store(ctx, p->l4 + offsetof(struct icmp_header, ident), &t->sport, sizeof(t->sport));
}

static __always_inline enum drop_reason write_transport(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	bool is_written;

	if (p->protocol == IPPROTO_SCTP)
		return write_sctp(ctx, p, t);
	if (p->flags & PACKET_ECHO)
		is_written = write_echo(ctx, p, t);
	else
		is_written = write_sum(ctx, p, t) && write_ports(ctx, p, t);
	return is_written ? DROP_NONE : DROP_REWRITE;
}

/*
 * Gives the packet the tuple's addresses and ports; p follows. Pointers into the packet are dead afterwards.
 * A later fragment has no transport header: its datagram's sum is in the first one.
 */
__noinline int rewrite(ctx_t *ctx, struct packet *p, const struct tuple *t)
{
	enum drop_reason why = DROP_NONE;

	if (!p || !t || !write_addresses(ctx, p, t))
		return DROP_REWRITE;
	if (p->flags & PACKET_L4 && p->flags & PACKET_PORTS)
		why = write_transport(ctx, p, t);
	if (why)
		return why;
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
	/* no header checksum makes up for it in a sum of the whole packet, which the kernel trusts (CHECKSUM_COMPLETE) */
	ctx_csum_complete(ctx, csum_32(csum_replace(0, bpf_htons(1), 0)));
	return DROP_NONE;
}

static __always_inline enum drop_reason write_macs(ctx_t *ctx, const mac_addr *from, const mac_addr *to)
{
	struct ethhdr *eth = ctx_data(ctx);

	if ((void *)(eth + 1) > ctx_end(ctx))
		return DROP_REWRITE;
	mac_copy(eth->h_dest, to);
	mac_copy(eth->h_source, from);
	return DROP_NONE;
}

#endif
