/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The way to another node's pods where the network between does not know them: what fits it, and how it is entered. */
#ifndef SLUICEWAY_TUNNEL_H
#define SLUICEWAY_TUNNEL_H

#include "dp/endpoint/fib.h"
#include "dp/tunnel/ipip.h"

enum { TUNNEL_TTL = 64 };

/* Who sends what is encapsulated: a VXLAN device drops what comes from its own MAC, and all have NODE_MAC. */
#define TUNNEL_SOURCE_MAC {{0xee, 0xee, 0xee, 0xee, 0xee, 0xec}}

static __always_inline bool fits_tunnel_mtu(ctx_t *ctx, __u32 *mtu)
{
	const struct node *n = node_now();

	*mtu = 0;
	return n && ctx_fits(ctx, n->tunnel_ifindex, mtu);
}

/* Where it does not the stack tells its sender the MTU. */
static __always_inline bool fits_tunnel(ctx_t *ctx)
{
	__u32 mtu;

	return fits_tunnel_mtu(ctx, &mtu);
}

/* Sends it encapsulated by our own header; the kernel finds the neighbour. Sets *verdict. */
static __always_inline int route_encapsulated(ctx_t *ctx, const struct packet *p, const ip_addr *to, int *verdict)
{
	const struct node *n = node_now();
	int why = encapsulate(ctx, p, to);

	if (why || !n)
		return why;
	why = route_out(ctx, addr_is_v4(to) ? &n->addr4 : &n->addr6, to, IPPROTO_IPIP, verdict);
	return why == DROP_TOO_BIG ? DROP_TOO_BIG_SILENT : why; /* the outer packet is, and has no sender but us */
}

/*
 * Sends it encapsulated: by headers of our own, or with the outer addresses noted (bpf_skb_set_tunnel_key) by the
 * tunnel's device. Sets *verdict.
 */
__noinline int route_tunnel(ctx_t *ctx, const struct packet *p, __u32 remote_id, int *verdict)
{
	struct bpf_tunnel_key key = {};
	struct remote *remote = remote_find(remote_id);
	const struct node *n = node_now();
	__u64 flags;
	bool v4;

	if (!remote || !n || !p || !verdict)
		return DROP_NO_TUNNEL;
	if (n->flags & NODE_IPIP)
		return route_encapsulated(ctx, p, &remote->addr, verdict);
	v4 = addr_is_v4(&remote->addr);
	key.tunnel_id = n->tunnel_vni;
	key.tunnel_ttl = TUNNEL_TTL;
	if (v4)
		key.remote_ipv4 = bpf_ntohl(remote->addr.w[3]);
	else
		memcpy(key.remote_ipv6, &remote->addr, sizeof(remote->addr));
	/* the inner packet has a checksum of its own (RFC 6935, RFC 8926 3.3.1), and the header is yet to change */
	flags = (v4 ? 0 : BPF_F_TUNINFO_IPV6) | (n->flags & NODE_GENEVE ? BPF_F_ZERO_CSUM_TX : 0);
	if (!ctx_set_tunnel_key(ctx, &key, flags))
		return DROP_NO_TUNNEL;
	*verdict = bpf_redirect(n->tunnel_ifindex, 0);
	return DROP_NONE;
}

#endif
