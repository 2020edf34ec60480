/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hands a judged packet on: to a pod of this node, out by the kernel's routes, or to the node itself. */
#ifndef SLUICEWAY_ROUTE_H
#define SLUICEWAY_ROUTE_H

#include "rewrite.h"

/* Where a packet goes next. */
enum hop {
	HOP_STACK, /* on, to the kernel's stack or the next program on the hook */
	HOP_POD,   /* the pod behind struct forward's end */
	HOP_OUT,   /* by the kernel's route for the destination, past the stack: it refuses our own source addresses */
	HOP_LOOP,  /* from this node to this node: in by the loopback device */
};

struct forward {
	enum hop hop;
	struct flow_end end;
};

enum { LOOPBACK_IFINDEX = 1 };

/* Which device the kernel would send it by; 0: none. */
static __always_inline __u32 route_device(ctx_t *ctx, const struct packet *p)
{
	struct bpf_fib_lookup f = {.ifindex = ctx->ifindex, .l4_protocol = p->protocol};
	long code;

	if (p->flags & PACKET_V4) {
		f.family = 2; /* AF_INET */
		f.ipv4_src = p->src.w[3];
		f.ipv4_dst = p->dst.w[3];
	} else {
		f.family = 10; /* AF_INET6 */
		memcpy(f.ipv6_src, &p->src, sizeof(ip_addr));
		memcpy(f.ipv6_dst, &p->dst, sizeof(ip_addr));
	}
	code = bpf_fib_lookup(ctx, &f, sizeof(f), 0);
	return code == BPF_FIB_LKUP_RET_SUCCESS || code == BPF_FIB_LKUP_RET_NO_NEIGH ? f.ifindex : 0;
}

/* Sends it out; the kernel finds the neighbour. Sets *verdict. */
__noinline int route_out(ctx_t *ctx, const struct packet *p, int *verdict)
{
	__u32 device;

	if (!p || !verdict)
		return DROP_NO_ROUTE;
	device = route_device(ctx, p);
	if (!device)
		return DROP_NO_ROUTE;
	*verdict = bpf_redirect_neigh(device, NULL, 0, 0);
	return DROP_NONE;
}

/* In by the loopback device, which takes what is for its own MAC: zeros. Any other is somebody else's packet. */
static __always_inline enum drop_reason route_loop(ctx_t *ctx, int *verdict)
{
	const mac_addr to = {};
	enum drop_reason why = write_macs(ctx, &to);

	if (!why)
		*verdict = bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	return why;
}

/*
 * Hands over what came in by a device. A hop is made, so the TTL is one less. Sets *verdict when the packet does not
 * go to the stack.
 */
static __always_inline enum drop_reason deliver_ingress(ctx_t *ctx, const struct packet *p, const struct forward *to,
							int *verdict)
{
	enum drop_reason why;

	switch (to->hop) {
	case HOP_STACK:
		return DROP_NONE;
	case HOP_LOOP:
		return route_loop(ctx, verdict);
	case HOP_OUT:
		why = write_hop(ctx, p);
		return why ? why : route_out(ctx, p, verdict);
	case HOP_POD:
		break;
	}
	why = write_hop(ctx, p);
	if (!why)
		why = write_macs(ctx, &to->end.mac);
	if (!why)
		*verdict = bpf_redirect_peer(to->end.ifindex, 0);
	return why;
}

/* Hands over what this node's stack sends: no hop is made. */
static __always_inline enum drop_reason deliver_egress(ctx_t *ctx, const struct packet *p, const struct forward *to,
						       int *verdict)
{
	enum drop_reason why;

	switch (to->hop) {
	case HOP_STACK:
		return DROP_NONE;
	case HOP_LOOP:
		return route_loop(ctx, verdict);
	case HOP_OUT:
		return route_out(ctx, p, verdict);
	case HOP_POD:
		break;
	}
	why = write_macs(ctx, &to->end.mac);
	if (!why)
		*verdict = bpf_redirect(to->end.ifindex, 0);
	return why;
}

#endif
