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

/* Is it for the socket of the tunnel's device here? */
static __always_inline bool is_for_tunnel(const struct packet *p)
{
	return is_tunnel_port(p) && addr_is_node(&p->dst);
}

/*
 * Where the datagram begins with `from`, it begins with `to` afterwards; others stay as they are. Its checksum, if it has one,
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
		return DROP_TUNNEL_HEADER;
	if (now.check) {
		now.check = csum_update(now.check, csum_replace(0, from, to));
		if (!now.check)
			now.check = 0xffff; /* zero says that there is no sum (RFC 768) */
	}
	memcpy(now.start, &to, sizeof(to));
	return ctx_store(ctx, at, &now, sizeof(now)) ? DROP_NONE : DROP_REWRITE;
}

/*
 * Is it an address under which other nodes send to this one? A node may have more, of which they know nothing: a pod's packets to
 * these leave there under its node's address, as to anybody outside.
 */
static __always_inline bool is_known_to_nodes(const ip_addr *addr)
{
	const struct node *n = node_now();

	return n && (addr_equal(addr, &n->addr4) || addr_equal(addr, &n->addr6) || node_at(addr));
}

/*
 * What comes in for the tunnel's device: from a node alone, as nodes send it, and where the device speaks VXLAN and the wire Geneve,
 * with that header alone.
 */
static __always_inline enum drop_reason tunnel_arrives(ctx_t *ctx, const struct packet *p)
{
	if (!is_known_to_nodes(&p->dst) || !node_at(&p->src))
		return DROP_TUNNEL_OUTER;
	return is_geneve_ours() && p->flags & PACKET_L4 ? exchange_start(ctx, p, GENEVE_START, VXLAN_START) : DROP_NONE;
}

/* What the VXLAN device sends, for another node; a process of the node's own may send other things to such a port. */
static __always_inline enum drop_reason geneve_leaves(ctx_t *ctx, const struct packet *p)
{
	enum drop_reason why = exchange_start(ctx, p, VXLAN_START, GENEVE_START);

	return why == DROP_TUNNEL_HEADER ? DROP_NONE : why;
}

#endif
