/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hands a judged packet on: to a pod of this node, out by the kernel's routes, or to the node itself. */
#ifndef SLUICEWAY_ROUTE_H
#define SLUICEWAY_ROUTE_H

#include "ahead.h"
#include "fib.h"
#include "geneve.h"
#include "limit.h"
#include "rewrite.h"

/* Where a packet goes next. */
enum hop {
	HOP_STACK,  /* on, to the kernel's stack or the next program on the hook */
	HOP_POD,    /* the pod behind struct forward's end */
	HOP_TUNNEL, /* the node that the end names, by the device that encapsulates */
	HOP_PIECES, /* that node too, in fragments that the stack makes: our own header leaves it too large */
	HOP_AHEAD,  /* by the kernel's route past its stack, where that is as good; else to the stack */
	HOP_OUT,    /* by the kernel's route for the destination, past the stack: it refuses our own source addresses */
	HOP_LOOP,   /* from this node to this node: in by the loopback device */
	HOP_LATER,  /* nowhere now: a fragment that waits, or comes again with those that waited for it */
};

struct forward {
	enum hop hop;
	struct flow_end end;
	__u32 copy;	       /* of its flow, see struct passage; wanted for HOP_AHEAD */
	bool was_encapsulated; /* it came in under a header of ours */
};

enum { LOOPBACK_IFINDEX = 1, TUNNEL_TTL = 64 };

/* Who sends what is encapsulated: a VXLAN device drops what comes from its own MAC, and all have NODE_MAC. */
#define TUNNEL_SOURCE_MAC {{0xee, 0xee, 0xee, 0xee, 0xee, 0xec}}

/* Sends it out; the kernel finds the neighbour. Sets *verdict. */
__noinline int route_out(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol, int *verdict)
{
	struct scratch *work = scratch();
	__u32 device;

	if (!src || !dst || !verdict || !work)
		return DROP_NO_ROUTE;
	device = fib_device_mtu(ctx, src, dst, protocol, &work->mtu);
	if (!device)
		return work->mtu ? DROP_TOO_BIG : DROP_NO_ROUTE;
	*verdict = bpf_redirect_neigh(device, NULL, 0, 0);
	return DROP_NONE;
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
	if (bpf_skb_set_tunnel_key(ctx, &key, sizeof(key), flags))
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

/* Would the packet, or each segment of it, pass the device? Sets *mtu to the device's. */
static __always_inline bool fits_device(ctx_t *ctx, __u32 ifindex, __u32 *mtu)
{
	*mtu = 0;
	return bpf_check_mtu(ctx, ifindex, mtu, 0, BPF_MTU_CHK_SEGS) == 0;
}

static __always_inline bool fits_tunnel_mtu(ctx_t *ctx, __u32 *mtu)
{
	const struct node *n = node_now();

	*mtu = 0;
	return n && fits_device(ctx, n->tunnel_ifindex, mtu);
}

/* Where it does not the stack tells its sender the MTU. */
static __always_inline bool fits_tunnel(ctx_t *ctx)
{
	__u32 mtu;

	return fits_tunnel_mtu(ctx, &mtu);
}

/*
 * How a translated packet goes to another node. What is too large for the tunnel its device sends in outer fragments,
 * where it may be divided at all; those of our own header's the other end could not take apart, so the packet itself is
 * fragmented.
 */
static __always_inline enum hop hop_to_remote(ctx_t *ctx, const struct packet *p)
{
	const struct node *n = node_now();

	if (!n || fits_tunnel(ctx) || !(n->flags & NODE_IPIP || p->flags & PACKET_WHOLE))
		return HOP_TUNNEL;
	return HOP_PIECES;
}

/*
 * By the stack, which fragments what it forwards: in by the tunnel's device, which takes packets under our own addresses,
 * and out by it. Its other refusals it would tell this node's address, which is no help to the sender.
 */
static __always_inline enum drop_reason route_pieces(ctx_t *ctx, const struct packet *p, int *verdict)
{
	const mac_addr from = TUNNEL_SOURCE_MAC, to = NODE_MAC;
	const struct node *n = node_now();
	struct iphdr *ip = ctx_data(ctx) + L3;
	struct scratch *work = scratch();

	if (work)
		work->mtu = 0;
	if (!n || (void *)(ip + 1) > ctx_end(ctx))
		return DROP_REWRITE;
	if (!(p->flags & PACKET_V4) || ip->frag_off & bpf_htons(IP_DF))
		return DROP_TOO_BIG;
	*verdict = bpf_redirect(n->tunnel_ifindex, BPF_F_INGRESS);
	return write_macs(ctx, &from, &to);
}

/*
 * A superframe that came in under a header of ours is still marked as encapsulated (the kernel clears that in tunnel
 * devices alone): a NIC that can send such ones would take it for what it says, and it can not be encapsulated anew. By
 * a device that takes no superframes it becomes packets, which cutter_ingress() sends on.
 */
static __always_inline enum drop_reason route_cutter(int *verdict)
{
	const struct node *n = node_now();

	if (!n || !n->cutter_ifindex)
		return DROP_NO_TUNNEL;
	*verdict = bpf_redirect(n->cutter_ifindex, 0);
	return DROP_NONE;
}

/*
 * Is it too large for the pod's wire? The node's stack made it for the device by which it was to leave, which may carry
 * more, as loopback does. What came in enters the pod past the wire.
 */
static __always_inline bool exceeds_wire(ctx_t *ctx, __u32 ifindex)
{
	struct scratch *work = scratch();

	return work && !fits_device(ctx, ifindex, &work->mtu) && work->mtu; /* a wire that is gone has no MTU */
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
	if (!ingress && to->hop == HOP_POD && exceeds_wire(ctx, to->end.ifindex))
		return DROP_TOO_BIG;
	/* past the pod's own hook, which would have charged it */
	if (ingress && to->hop == HOP_POD)
		why = limit_to_pod(ctx, p, to->end.ifindex);
	if (why)
		return why;
	if (to->hop == HOP_PIECES)
		return route_pieces(ctx, p, verdict);
	if (to->hop == HOP_AHEAD && !route_ahead(ctx, p, to->copy, verdict))
		return DROP_NONE;
	if (ingress)
		why = write_hop(ctx, p);
	if (why || to->hop == HOP_AHEAD)
		return why;
	if (to->hop != HOP_POD && to->was_encapsulated && ctx->gso_size)
		return route_cutter(verdict);
	if (to->hop == HOP_OUT)
		return route_out(ctx, &p->src, &p->dst, p->protocol, verdict);
	if (to->hop == HOP_POD)
		why = write_macs(ctx, &node_mac, &to->end.mac);
	else
		why = write_macs(ctx, &tunnel_mac, &node_mac);
	if (why)
		return why;
	if (to->hop == HOP_TUNNEL)
		return route_tunnel(ctx, p, to->end.remote_id, verdict);
	*verdict = ingress ? bpf_redirect_peer(to->end.ifindex, 0) : bpf_redirect(to->end.ifindex, 0);
	return DROP_NONE;
}

#endif
