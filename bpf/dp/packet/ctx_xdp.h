/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The packet's buffer at XDP: the driver's own, before there is a struct sk_buff. ctx.h includes it.
 *
 * A checksum is taken for a whole one. A device that got the packet from another of this machine (veth) may have one that
 * is still left to it; XDP has no way to know.
 */
#ifndef SLUICEWAY_CTX_XDP_H
#define SLUICEWAY_CTX_XDP_H

#include "dp/packet/csum.h"

typedef struct xdp_md ctx_t;

/* The device where the packet came in; volatile as in ctx_skb.h. */
static __always_inline __u32 ctx_ifindex(const ctx_t *ctx)
{
	return ((const volatile ctx_t *)ctx)->ingress_ifindex;
}

/* The device's receive queue. */
static __always_inline __u32 ctx_queue(const ctx_t *ctx)
{
	return ctx->rx_queue_index;
}

/* Octets of the whole frame, also those outside the first buffer. */
static __always_inline __u32 ctx_length(const ctx_t *ctx)
{
	return bpf_xdp_get_buff_len((ctx_t *)ctx);
}

/* There are no GSO packets yet. */
static __always_inline __u32 ctx_gso_size(const ctx_t *ctx)
{
	(void)ctx;
	return 0;
}

/* What is outside the first buffer stays there. */
static __always_inline bool ctx_pull(ctx_t *ctx, __u32 len)
{
	(void)ctx;
	(void)len;
	return false;
}

static __always_inline bool ctx_load(const ctx_t *ctx, __u32 at, void *to, __u32 len)
{
	return bpf_xdp_load_bytes((ctx_t *)ctx, at, to, len) == 0;
}

static __always_inline bool ctx_store(ctx_t *ctx, __u32 at, const void *from, __u32 len)
{
	return bpf_xdp_store_bytes(ctx, at, (void *)from, len) == 0;
}

/* There is no sum of the whole packet yet that the kernel trusts: ctx_csum_complete() has nothing to do. */
static __always_inline bool ctx_store_summed(ctx_t *ctx, __u32 at, const void *from, __u32 len)
{
	return ctx_store(ctx, at, from, len);
}

static __always_inline void ctx_csum_complete(ctx_t *ctx, __u32 diff)
{
	(void)ctx;
	(void)diff;
}

/*
 * Adds diff to the transport checksum at `at`; udp: one of zero says that there is none, and stays (RFC 768). The sum is a
 * whole one, of the pseudo-header and the rest alike.
 */
static __always_inline bool ctx_csum_add(ctx_t *ctx, __u32 at, __u32 diff, bool pseudo, bool udp)
{
	__sum16 sum;

	(void)pseudo;
	if (!ctx_load(ctx, at, &sum, sizeof(sum)))
		return false;
	if (udp && !sum)
		return true;
	sum = csum_update(sum, diff);
	if (udp && !sum)
		sum = 0xffff;
	return ctx_store(ctx, at, &sum, sizeof(sum));
}

static __always_inline enum ctx_sum ctx_sum(ctx_t *ctx, bool udp)
{
	(void)ctx;
	(void)udp;
	return CTX_SUM_WHOLE;
}

#endif
