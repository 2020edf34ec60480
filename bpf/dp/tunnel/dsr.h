/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which service was asked, told to the node of the pod that answers (docs/decisions/0052-forwarding.md): an option of the inner
 * packet's IPv4 header, or an IPv6 destination option before all other headers. Written where a packet is encapsulated and taken off
 * where it was: nobody between the nodes has such an option to look at, and only a node can have sent it.
 */
#ifndef SLUICEWAY_DSR_H
#define SLUICEWAY_DSR_H

#include "dp/packet/segment.h"
#include "dp/tunnel/tunnel.h"

enum {
	DSR_OPTION4 = 158,  /* for experiments, and copied into fragments (RFC 4727 3) */
	DSR_OPTION6 = 0x1e, /* for experiments, and passed over by who does not know it (RFC 4727 4) */
	DSR_MOST_IHL = 13,  /* words of an IPv4 header that has room for two more */
	OPTION6_PADN = 1,
};

struct dsr4 {
	__u8 type;
	__u8 length;
	__be16 port;
	__be32 addr;
};

struct dsr6 {
	__u8 next;
	__u8 units; /* of 8 octets, not counting the first */
	__u8 type;
	__u8 length; /* of what follows, without the padding */
	ip_addr addr;
	__be16 port;
	__u8 pad_type;
	__u8 pad_length;
} __attribute__((packed, aligned(4)));

_Static_assert(sizeof(struct dsr4) == 8 && sizeof(struct dsr6) == 24, "as on the wire");

struct dsr_header4 {
	struct iphdr ip;
	struct dsr4 option;
};

struct dsr_header6 {
	struct ipv6hdr ip;
	struct dsr6 option;
};

/* Octets that the option takes. */
static __always_inline __u32 dsr_size(const struct packet *p)
{
	return p->flags & PACKET_V4 ? sizeof(struct dsr4) : sizeof(struct dsr6);
}

/* Would the packet, or each segment of it, pass the tunnel with the option? */
__noinline int fits_tunnel_dsr(ctx_t *ctx, const struct packet *p)
{
	__u32 mtu = 0, octets;

	if (!p)
		return false;
	fits_tunnel_mtu(ctx, &mtu);
	octets = ctx_gso_size(ctx) ? segment_headers(ctx, p) + ctx_gso_size(ctx) : ctx_length(ctx);
	return octets - L3 + dsr_size(p) <= mtu;
}

/* Has an IPv4 header say that it is longer by so many octets, or shorter. Returns what that adds to its checksum. */
static __always_inline csum_t dsr_lengthen4(struct iphdr *ip, __s32 octets)
{
	__be16 length = bpf_htons(bpf_ntohs(ip->tot_len) + octets);
	__u8 *first = (__u8 *)ip, words = *first + octets / 4;
	csum_t diff = csum_replace(csum_replace(0, ip->tot_len, length), *first, words);

	ip->tot_len = length;
	*first = words;
	return diff;
}

static __noinline bool dsr_write4(ctx_t *ctx, struct scratch *work)
{
	struct dsr_header4 h = {};
	csum_t diff;

	if (!ctx_load(ctx, L3, &h.ip, sizeof(h.ip)) || h.ip.ihl > DSR_MOST_IHL ||
	    ctx_adjust_options(ctx, sizeof(h.option)))
		return false;
	h.option = (struct dsr4){DSR_OPTION4, sizeof(h.option), work->forward.asked_port, work->asked.w[3]};
	diff = dsr_lengthen4(&h.ip, sizeof(h.option));
	h.ip.check = csum_update(h.ip.check, csum_words(diff, (__be32 *)&h.option, sizeof(h.option) / 4));
	return ctx_store_summed(ctx, L3, &h, sizeof(h));
}

static __noinline bool dsr_write6(ctx_t *ctx, struct scratch *work)
{
	struct dsr_header6 h = {};

	if (!ctx_load(ctx, L3, &h.ip, sizeof(h.ip)) || ctx_adjust_options(ctx, sizeof(h.option)))
		return false;
	h.option.next = h.ip.nexthdr;
	h.option.units = sizeof(h.option) / 8 - 1;
	h.option.type = DSR_OPTION6;
	h.option.length = sizeof(h.option.addr) + sizeof(h.option.port);
	h.option.addr = work->asked;
	h.option.port = work->forward.asked_port;
	h.option.pad_type = OPTION6_PADN;
	h.ip.nexthdr = IPPROTO_DSTOPTS;
	h.ip.payload_len = bpf_htons(bpf_ntohs(h.ip.payload_len) + sizeof(h.option));
	return ctx_store_summed(ctx, L3, &h, sizeof(h));
}

/*
 * Tells the other node what the packet's client asked; the packet's record follows. Where the kernel has no room for it, or IPv4's
 * header none, the packet goes without: then answers come back by this node, which undoes its translation.
 */
__noinline int dsr_write(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct packet *p;

	if (!work)
		return false;
	p = &work->packet;
	if (!(p->flags & PACKET_V4 ? dsr_write4(ctx, work) : dsr_write6(ctx, work)))
		return false;
	p->l4 += dsr_size(p);
	return true;
}

static __noinline bool dsr_read4(ctx_t *ctx, struct scratch *work)
{
	struct dsr_header4 h;
	csum_t diff;

	if (!ctx_load(ctx, L3, &h, sizeof(h)) || h.option.type != DSR_OPTION4 || h.option.length != sizeof(h.option))
		return false;
	if (ctx_adjust_options(ctx, -(__s32)sizeof(h.option)))
		return false;
	work->asked = addr_v4(h.option.addr);
	work->forward.asked_port = h.option.port;
	diff = dsr_lengthen4(&h.ip, -(__s32)sizeof(h.option));
	diff = csum_replace(csum_replace(diff, *(__be32 *)&h.option, 0), h.option.addr, 0);
	h.ip.check = csum_update(h.ip.check, diff);
	return ctx_store_summed(ctx, L3, &h.ip, sizeof(h.ip));
}

static __noinline bool dsr_read6(ctx_t *ctx, struct scratch *work)
{
	struct dsr_header6 h;

	if (!ctx_load(ctx, L3, &h, sizeof(h)) || h.ip.nexthdr != IPPROTO_DSTOPTS || h.option.type != DSR_OPTION6 ||
	    h.option.units != sizeof(h.option) / 8 - 1 ||
	    h.option.length != sizeof(h.option.addr) + sizeof(h.option.port) ||
	    ctx_adjust_options(ctx, -(__s32)sizeof(h.option)))
		return false;
	work->asked = h.option.addr;
	work->forward.asked_port = h.option.port;
	h.ip.nexthdr = h.option.next;
	h.ip.payload_len = bpf_htons(bpf_ntohs(h.ip.payload_len) - sizeof(h.option));
	return ctx_store_summed(ctx, L3, &h.ip, sizeof(h.ip));
}

/* Learns what the packet's client asked, if the node that sent it has told; the packet's record follows. */
__noinline int dsr_read(ctx_t *ctx)
{
	struct scratch *work = scratch();
	struct packet *p;

	if (!work)
		return false;
	p = &work->packet;
	if (p->l4 < L3 + header_size(p->flags & PACKET_V4) + dsr_size(p))
		return false;
	if (!(p->flags & PACKET_V4 ? dsr_read4(ctx, work) : dsr_read6(ctx, work)))
		return false;
	p->l4 -= dsr_size(p);
	return true;
}

#endif
