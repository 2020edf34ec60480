/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's routes: asked, and taken. */
#ifndef SLUICEWAY_FIB_H
#define SLUICEWAY_FIB_H

#include "dp/packet/addr.h"
#include "dp/packet/ctx.h"
#include "dp/packet/scratch.h"

static __always_inline void fib_addresses(struct bpf_fib_lookup *f, const ip_addr *src, const ip_addr *dst)
{
	if (addr_is_v4(dst)) {
		f->family = 2; /* AF_INET */
		f->ipv4_src = src->w[3];
		f->ipv4_dst = dst->w[3];
	} else {
		f->family = 10; /* AF_INET6 */
		memcpy(f->ipv6_src, src, sizeof(*src));
		memcpy(f->ipv6_dst, dst, sizeof(*dst));
	}
}

/*
 * Which device the kernel would send a packet by that came in here; 0: by none. Sets *mtu where that is because the packet
 * is too large. A GSO packet is not: its segments came in as they are.
 */
static __always_inline __u32 fib_device_mtu(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol,
					    __u32 *mtu)
{
	struct bpf_fib_lookup f = {.ifindex = ctx_ifindex(ctx), .l4_protocol = protocol};
	long code;

	*mtu = 0;
	if (!ctx_gso_size(ctx))
		f.tot_len = ctx_length(ctx) - ETH_HLEN;
	fib_addresses(&f, src, dst);
	code = ctx_fib_lookup(ctx, &f);
	if (code == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		*mtu = f.mtu_result;
	return code == BPF_FIB_LKUP_RET_SUCCESS || code == BPF_FIB_LKUP_RET_NO_NEIGH ? f.ifindex : 0;
}

static __always_inline __u32 fib_device(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol)
{
	__u32 mtu;

	return fib_device_mtu(ctx, src, dst, protocol, &mtu);
}

/* Sends it out; the kernel finds the neighbour. Sets *verdict. */
__noinline int route_out(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol, int *verdict)
{
	struct scratch *work = scratch();
	__u32 device;

	if (!src || !dst || !verdict || !work)
		return DROP_NO_ROUTE;
	device = fib_device_mtu(ctx, src, dst, protocol, &work->forward.mtu);
	if (!device)
		return work->forward.mtu ? DROP_TOO_BIG : DROP_NO_ROUTE;
	*verdict = bpf_redirect_neigh(device, NULL, 0, 0);
	return DROP_NONE;
}

#endif
