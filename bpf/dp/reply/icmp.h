/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ICMP errors about a translated flow are translated back, the outer headers and the ones they quote (RFC 5508). */
#ifndef SLUICEWAY_ICMP_H
#define SLUICEWAY_ICMP_H

#include "dp/conntrack/conntrack.h"
#include "dp/packet/rewrite.h"

static __always_inline bool quote_read_v4(ctx_t *ctx, struct quote *q)
{
	struct iphdr ip;

	if (!ctx_load(ctx, q->l3, &ip, sizeof(ip)) || ip.ihl < 5 || ip.frag_off & bpf_htons(0x1fff))
		return false;
	q->l4 = q->l3 + ip.ihl * 4;
	q->ip_check = ip.check;
	q->t.src = addr_v4(ip.saddr);
	q->t.dst = addr_v4(ip.daddr);
	q->t.protocol = ip.protocol;
	return true;
}

/* What a quoted datagram's first fragment has, or a GSO packet of more than 64 KiB: the ports are behind one more header. */
static __always_inline bool quote_read_extension(ctx_t *ctx, struct quote *q)
{
	struct extension x;

	if (!ctx_load(ctx, q->l4, &x, sizeof(x)))
		return false;
	if (q->t.protocol == IPPROTO_FRAGMENT ? bpf_ntohs(x.offset) & 0xfff8 : x.length)
		return false;
	q->l4 += sizeof(x);
	q->t.protocol = x.next;
	return true;
}

static __always_inline bool quote_read_v6(ctx_t *ctx, struct quote *q)
{
	struct ipv6hdr ip;

	if (!ctx_load(ctx, q->l3, &ip, sizeof(ip)))
		return false;
	q->l4 = q->l3 + sizeof(ip);
	q->t.src = addr_v6(&ip.saddr);
	q->t.dst = addr_v6(&ip.daddr);
	q->t.protocol = ip.nexthdr;
	if (ip.nexthdr == IPPROTO_FRAGMENT || ip.nexthdr == IPPROTO_HOPOPTS)
		return quote_read_extension(ctx, q);
	return true;
}

/* The quoted identifier of an echo, which stands for both ports. */
static __always_inline bool quote_read_echo(ctx_t *ctx, struct quote *q)
{
	struct icmp_header echo;

	if (!ctx_load(ctx, q->l4, &echo, sizeof(echo)) || !icmp_is_echo(q->t.protocol, echo.type))
		return false;
	q->t.sport = q->t.dport = echo.ident;
	return true;
}

static __always_inline bool is_icmp(__u8 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

/* False when the error quotes no packet of a flow that we could know. */
static __noinline bool quote_read(ctx_t *ctx, const struct packet *p, struct quote *q)
{
	__be16 ports[2];

	memset(q, 0, sizeof(*q));
	q->l3 = p->l4 + sizeof(struct icmp_header);
	if (!(p->flags & PACKET_V4 ? quote_read_v4(ctx, q) : quote_read_v6(ctx, q)))
		return false;
	if (is_icmp(q->t.protocol))
		return quote_read_echo(ctx, q);
	if (q->t.protocol != IPPROTO_TCP && q->t.protocol != IPPROTO_UDP && q->t.protocol != IPPROTO_SCTP)
		return false;
	if (!ctx_load(ctx, q->l4, ports, sizeof(ports)))
		return false;
	q->t.sport = ports[0];
	q->t.dport = ports[1];
	return true;
}

/*
 * The quoted transport checksum, when it is there and in use; SCTP's stays, for nobody has all that it is over. Returns what its change adds to the sum around it.
 */
static __always_inline csum_t quote_write_check(ctx_t *ctx, const struct quote *q, csum_t diff)
{
	__u32 at = q->l4 + check_offset(q->t.protocol);
	__sum16 old, new;

	if (q->t.protocol == IPPROTO_SCTP)
		return 0;
	if (!ctx_load(ctx, at, &old, sizeof(old)) || (q->t.protocol == IPPROTO_UDP && !old))
		return 0;
	new = csum_update(old, diff);
	if (q->t.protocol == IPPROTO_UDP && !new)
		new = 0xffff; /* zero says that there is none (RFC 768) */
	if (!ctx_store(ctx, at, &new, sizeof(new)))
		return 0;
	return csum_replace(0, old, new);
}

/* Gives the quoted packet another tuple. Returns what the change adds to the sum of the octets it stands in. */
static __noinline csum_t quote_write(ctx_t *ctx, const struct quote *q, const struct tuple *t, bool v4)
{
	__be16 ports[2] = {t->sport, t->dport};
	csum_t addresses = 0, diff = 0;
	struct {
		__be32 src;
		__be32 dst;
	} v4_addrs = {t->src.w[3], t->dst.w[3]};
	__sum16 check;

	addresses = csum_replace_addr(addresses, &q->t.src, &t->src);
	addresses = csum_replace_addr(addresses, &q->t.dst, &t->dst);
	diff = csum_replace(diff, q->t.sport, t->sport);
	if (is_icmp(q->t.protocol)) {
		ctx_store(ctx, q->l4 + offsetof(struct icmp_header, ident), ports, sizeof(ports[0]));
		diff += quote_write_check(ctx, q, q->t.protocol == IPPROTO_ICMPV6 ? addresses + diff : diff);
	} else {
		diff = csum_replace(diff, q->t.dport, t->dport);
		ctx_store(ctx, q->l4, ports, sizeof(ports));
		diff += quote_write_check(ctx, q, addresses + diff);
	}
	if (v4) {
		check = csum_update(q->ip_check, addresses);
		diff = csum_replace(diff, q->ip_check, check);
		ctx_store(ctx, q->l3 + offsetof(struct iphdr, check), &check, sizeof(check));
		ctx_store(ctx, q->l3 + offsetof(struct iphdr, saddr), &v4_addrs, sizeof(v4_addrs));
	} else {
		ctx_store(ctx, q->l3 + offsetof(struct ipv6hdr, saddr), &t->src, sizeof(t->src));
		ctx_store(ctx, q->l3 + offsetof(struct ipv6hdr, daddr), &t->dst, sizeof(t->dst));
	}
	return diff + addresses;
}

/* Finds the flow that an ICMP error is about, and reads it into work->found. False: it quotes none that is known. */
__noinline int icmp_find(ctx_t *ctx, struct packet *p)
{
	struct scratch *work = scratch();
	bool src_hi;

	if (!p || !work || !quote_read(ctx, p, &work->quote) || !ct_peek(&work->quote.t, &src_hi))
		return false;
	work->quote.src_hi = src_hi;
	return true;
}

/*
 * Translates an ICMP error whose flow has been found, when that is a translated one; p follows, and struct forward says so. The
 * error goes against the packet it quotes, so it is treated as a packet of the flow's other direction.
 */
__noinline int icmp_rewrite(ctx_t *ctx, struct packet *p)
{
	__u32 check = offsetof(struct icmp_header, checksum);
	struct scratch *work = scratch();
	csum_t diff, pseudo = 0;
	struct tuple *quoted;
	const struct flow *f;
	bool v4;

	if (!p || !work)
		return DROP_REWRITE;
	v4 = p->flags & PACKET_V4;
	check += p->l4;
	quoted = &work->quote.t;
	f = &work->found;
	/* the error goes the other way than what it quotes */
	if (!flow_translates(f, !work->quote.src_hi) || is_left_to_client(work, f, !work->quote.src_hi))
		return DROP_NONE;
	work->inner.src = f->to_dst;
	work->inner.dst = f->to_src;
	work->inner.sport = f->to_dport;
	work->inner.dport = f->to_sport;
	work->outer.src = p->src;
	if (addr_equal(&p->src, &quoted->dst))
		work->outer.src = f->to_src;
	work->outer.dst = f->to_dst;
	diff = quote_write(ctx, &work->quote, &work->inner, v4);
	if (!ctx_csum_add(ctx, check, csum_32(diff), false, false))
		return DROP_REWRITE;
	pseudo = csum_replace_addr(pseudo, &p->src, &work->outer.src);
	pseudo = csum_replace_addr(pseudo, &p->dst, &work->outer.dst);
	if (!v4 && !ctx_csum_add(ctx, check, csum_32(pseudo), true, false))
		return DROP_REWRITE;
	if (!write_addresses(ctx, p, &work->outer))
		return DROP_REWRITE;
	work->forward.is_renamed = !addr_equal(&p->src, &work->outer.src);
	p->src = work->outer.src;
	p->dst = work->outer.dst;
	work->way_src = p->src;
	work->forward.is_translated = true;
	return DROP_NONE;
}

/* Does a pod that is no end of it send an error about a flow? It knows nothing of that one. */
static __always_inline bool is_others_flow(const struct scratch *work)
{
	const struct flow *f = &work->found;

	return work->forward.hook == HOOK_POD_INGRESS && work->sender.slot != f->ends[0].slot &&
	       work->sender.slot != f->ends[1].slot;
}

/* Translates an ICMP error by its flow, where there is one that policy lets go on: then the error is one about a flow. */
static __always_inline enum drop_reason icmp_translate(ctx_t *ctx, struct scratch *work)
{
	struct packet *p = &work->packet;

	if (!icmp_find(ctx, p) || is_others_flow(work))
		return DROP_NONE;
	ct_refresh_ends(&work->other, &work->found);
	if (ct_judge(&work->other, &work->found))
		return DROP_NONE;
	work->forward.is_about_flow = true;
	work->forward.is_by_stack = work->found.flags & FLOW_BY_STACK;
	return icmp_rewrite(ctx, p);
}

#endif
