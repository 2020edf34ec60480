/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Asks the kernel's routes. */
#ifndef SLUICEWAY_FIB_H
#define SLUICEWAY_FIB_H

#include "addr.h"
#include "ctx.h"

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
 * is too large. A superframe is not: its segments came in as they are.
 */
static __always_inline __u32 fib_device_mtu(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol,
					    __u32 *mtu)
{
	struct bpf_fib_lookup f = {.ifindex = ctx->ifindex, .l4_protocol = protocol};
	long code;

	*mtu = 0;
	if (!ctx->gso_size)
		f.tot_len = ctx_length(ctx) - ETH_HLEN;
	fib_addresses(&f, src, dst);
	code = bpf_fib_lookup(ctx, &f, sizeof(f), 0);
	if (code == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		*mtu = f.mtu_result;
	return code == BPF_FIB_LKUP_RET_SUCCESS || code == BPF_FIB_LKUP_RET_NO_NEIGH ? f.ifindex : 0;
}

static __always_inline __u32 fib_device(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol)
{
	__u32 mtu;

	return fib_device_mtu(ctx, src, dst, protocol, &mtu);
}

#endif
