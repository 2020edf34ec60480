/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Geneve where the kernel has no such device: its VXLAN device does the work, and its header, of the same size and
 * with the network's number in the same place, is exchanged for Geneve's on the uplink (RFC 7348 5, RFC 8926 3.4).
 * The device's socket gives GRO and checksums; GSO packets stay whole, as each segment gets the header that is there.
 */
#ifndef SLUICEWAY_GENEVE_H
#define SLUICEWAY_GENEVE_H

#include "dp/tunnel/ipip.h"

#define VXLAN_START bpf_htonl(0x08000000)  /* a network number is there */
#define GENEVE_START bpf_htonl(0x00006558) /* version 0, no options, inside is Ethernet */

/* Is the exchange ours to make? */
static __always_inline bool is_geneve_ours(void)
{
	const struct node *n = node_now();

	return n && n->flags & NODE_GENEVE;
}

/* Is it UDP to the port of the encapsulation? */
static __always_inline bool is_tunnel_port(const struct packet *p)
{
	const struct node *n = node_now();

	return n && n->tunnel_port && p->protocol == IPPROTO_UDP && p->flags & PACKET_L4 && p->dport == n->tunnel_port;
}

/* Is it for the socket of the tunnel's device here? */
static __always_inline bool is_for_tunnel(const struct packet *p)
{
	const struct node *n = node_now();

	return n && is_tunnel_port(p) && addr_equal(&p->dst, p->flags & PACKET_V4 ? &n->addr4 : &n->addr6);
}

/*
 * Where the datagram begins with `from`, has it begin with `to`; others stay as they are. Its checksum, if it has one,
 * is a whole one, also when the inner packet's is left to the device: what the kernel's helpers take for it.
 */
__noinline int exchange_start(ctx_t *ctx, const struct packet *p, __be32 from, __be32 to)
{
	struct {
		__sum16 check;
		__be16 start[2];
	} now;
	__u32 at;

	if (!p)
		return DROP_REWRITE;
	at = p->l4 + offsetof(struct udphdr, check);
	if (!ctx_load(ctx, at, &now, sizeof(now)) || memcmp(now.start, &from, sizeof(from)))
		return DROP_NONE;
	if (now.check) {
		now.check = csum_update(now.check, csum_replace(0, from, to));
		if (!now.check)
			now.check = 0xffff; /* zero says that there is no sum (RFC 768) */
	}
	memcpy(now.start, &to, sizeof(to));
	return ctx_store(ctx, at, &now, sizeof(now)) ? DROP_NONE : DROP_REWRITE;
}

/* What another node sends, for the VXLAN device. */
static __always_inline enum drop_reason geneve_arrives(ctx_t *ctx, const struct packet *p)
{
	return is_node_to_node(p) ? exchange_start(ctx, p, GENEVE_START, VXLAN_START) : DROP_NONE;
}

/* What the VXLAN device sends, for another node. */
static __always_inline enum drop_reason geneve_leaves(ctx_t *ctx, const struct packet *p)
{
	return exchange_start(ctx, p, VXLAN_START, GENEVE_START);
}

#endif
