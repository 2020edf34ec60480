/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hands a judged packet on: to a pod of this node, out by the kernel's routes, or to the node itself. */
#ifndef SLUICEWAY_ROUTE_H
#define SLUICEWAY_ROUTE_H

#include "fib.h"
#include "limit.h"
#include "rewrite.h"

/* Where a packet goes next. */
enum hop {
	HOP_STACK,  /* on, to the kernel's stack or the next program on the hook */
	HOP_POD,    /* the pod behind struct forward's end */
	HOP_TUNNEL, /* the node that the end names, by the device that encapsulates */
	HOP_OUT,    /* by the kernel's route for the destination, past the stack: it refuses our own source addresses */
	HOP_LOOP,   /* from this node to this node: in by the loopback device */
};

struct forward {
	enum hop hop;
	struct flow_end end;
};

enum { LOOPBACK_IFINDEX = 1, TUNNEL_TTL = 64 };

/* Who sends what is encapsulated: a VXLAN device drops what comes from its own MAC, and all have NODE_MAC. */
#define TUNNEL_SOURCE_MAC {{0xee, 0xee, 0xee, 0xee, 0xee, 0xec}}

/* Sends it out; the kernel finds the neighbour. Sets *verdict. */
__noinline int route_out(ctx_t *ctx, const struct packet *p, int *verdict)
{
	__u32 device;

	if (!p || !verdict)
		return DROP_NO_ROUTE;
	device = fib_device(ctx, &p->src, &p->dst, p->protocol);
	if (!device)
		return DROP_NO_ROUTE;
	*verdict = bpf_redirect_neigh(device, NULL, 0, 0);
	return DROP_NONE;
}

/* Addresses the packet's outer header, and sends it by the tunnel's device (bpf_skb_set_tunnel_key). Sets *verdict. */
__noinline int route_tunnel(ctx_t *ctx, __u32 remote_id, int *verdict)
{
	struct bpf_tunnel_key key = {};
	struct remote *remote = remote_find(remote_id);
	const struct node *n = node_now();
	bool v4;

	if (!remote || !n || !verdict)
		return DROP_NO_TUNNEL;
	v4 = addr_is_v4(&remote->addr);
	key.tunnel_id = n->tunnel_vni;
	key.tunnel_ttl = TUNNEL_TTL;
	if (v4)
		key.remote_ipv4 = bpf_ntohl(remote->addr.w[3]);
	else
		memcpy(key.remote_ipv6, &remote->addr, sizeof(remote->addr));
	if (bpf_skb_set_tunnel_key(ctx, &key, sizeof(key), v4 ? 0 : BPF_F_TUNINFO_IPV6))
		return DROP_NO_TUNNEL;
	*verdict = bpf_redirect(n->tunnel_ifindex, 0);
	return DROP_NONE;
}

/* In by the loopback device, which takes what is for its own MAC: zeros. Any other is somebody else's packet. */
static __always_inline enum drop_reason route_loop(ctx_t *ctx, int *verdict)
{
	const mac_addr from = NODE_MAC, to = {};
	enum drop_reason why = write_macs(ctx, &from, &to);

	if (!why)
		*verdict = bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	return why;
}

/* Would the packet, or each segment of it, pass the tunnel's device? Else the stack tells its sender the MTU. */
static __always_inline bool fits_tunnel(ctx_t *ctx)
{
	const struct node *n = node_now();
	__u32 mtu = 0;

	return n && bpf_check_mtu(ctx, n->tunnel_ifindex, &mtu, 0, BPF_MTU_CHK_SEGS) == 0;
}

/*
 * Hands the packet over; sets *verdict when it does not go to the stack. What came in by a device (ingress) has made
 * a hop, so its TTL is one less; what this node's stack sends has not. Only the former can enter a pod directly.
 */
static __always_inline enum drop_reason deliver(ctx_t *ctx, const struct packet *p, const struct forward *to,
						bool ingress, int *verdict)
{
	const mac_addr node_mac = NODE_MAC, tunnel_mac = TUNNEL_SOURCE_MAC;
	enum drop_reason why = DROP_NONE;

	if (to->hop == HOP_STACK)
		return DROP_NONE;
	if (to->hop == HOP_LOOP)
		return route_loop(ctx, verdict);
	/* past the pod's own hook, which would have charged it */
	if (ingress && to->hop == HOP_POD)
		why = limit_to_pod(ctx, p, to->end.ifindex);
	if (why)
		return why;
	if (ingress)
		why = write_hop(ctx, p);
	if (why)
		return why;
	if (to->hop == HOP_OUT)
		return route_out(ctx, p, verdict);
	if (to->hop == HOP_POD)
		why = write_macs(ctx, &node_mac, &to->end.mac);
	else
		why = write_macs(ctx, &tunnel_mac, &node_mac);
	if (why)
		return why;
	if (to->hop == HOP_TUNNEL)
		return route_tunnel(ctx, to->end.remote_id, verdict);
	*verdict = ingress ? bpf_redirect_peer(to->end.ifindex, 0) : bpf_redirect(to->end.ifindex, 0);
	return DROP_NONE;
}

#endif
