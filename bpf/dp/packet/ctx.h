/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The only way from the other headers to the packet's buffer, so that they serve any hook that has one. */
#ifndef SLUICEWAY_CTX_H
#define SLUICEWAY_CTX_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef struct __sk_buff ctx_t;

#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp

static __always_inline void *ctx_data(const ctx_t *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *ctx_end(const ctx_t *ctx)
{
	return (void *)(long)ctx->data_end;
}

/* Octets of the whole frame, also those outside the linear part. */
static __always_inline __u32 ctx_length(const ctx_t *ctx)
{
	return ctx->len;
}

/* Makes the first len octets linear; pointers into the packet are dead afterwards. */
static __always_inline bool ctx_pull(ctx_t *ctx, __u32 len)
{
	return bpf_skb_pull_data(ctx, len < ctx->len ? len : ctx->len) == 0;
}

static __always_inline bool ctx_is_linear(const ctx_t *ctx)
{
	return ctx->data_end - ctx->data >= ctx->len;
}

static __always_inline bool ctx_load(const ctx_t *ctx, __u32 at, void *to, __u32 len)
{
	return bpf_skb_load_bytes(ctx, at, to, len) == 0;
}

static __always_inline bool ctx_store(ctx_t *ctx, __u32 at, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, at, from, len, 0) == 0;
}

/* Has a queue that keeps time send the packet at ns of CLOCK_MONOTONIC. The kernel keeps that through its stack. */
static __always_inline void ctx_send_at(ctx_t *ctx, __u64 ns)
{
	bpf_skb_set_tstamp(ctx, ns, BPF_SKB_TSTAMP_DELIVERY_MONO);
}

/* As ctx_store(), where a sum of the whole packet that the kernel trusts (CHECKSUM_COMPLETE) must stay right. */
static __always_inline bool ctx_store_summed(ctx_t *ctx, __u32 at, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, at, from, len, BPF_F_RECOMPUTE_CSUM) == 0;
}

/* in tc_index: a hook of this node has processed the packet, and the uplink need not look whose it is */
enum { CTX_PROCESSED = 0x5357 };

/* Both, for what goes on by the stack gets as index what is the class here. */
static __always_inline void ctx_set_processed(ctx_t *ctx, bool processed)
{
	ctx->tc_index = processed ? CTX_PROCESSED : 0;
	ctx->tc_classid = processed ? CTX_PROCESSED : 0;
}

static __always_inline bool ctx_is_processed(const ctx_t *ctx)
{
	return ctx->tc_index == CTX_PROCESSED;
}

/*
 * Adds diff to the transport checksum at `at`. A sum still left to the device (CHECKSUM_PARTIAL) covers the
 * pseudo-header alone, so only the kernel can know which part counts: pseudo says which one diff belongs to.
 */
static __always_inline bool ctx_csum_add(ctx_t *ctx, __u32 at, __u32 diff, __u64 flags, bool pseudo)
{
	return bpf_l4_csum_replace(ctx, at, 0, diff, flags | (pseudo ? BPF_F_PSEUDO_HDR : 0)) == 0;
}

/* What the transport's checksum field holds. */
enum ctx_sum {
	CTX_SUM_WHOLE,	 /* the sum */
	CTX_SUM_PARTIAL, /* the pseudo-header's alone: the device adds the rest (CHECKSUM_PARTIAL) */
	CTX_SUM_OTHER,	 /* unknown; or the kernel trusts a sum of the whole packet beside it (CHECKSUM_COMPLETE) */
};

/* The one field of the kernel's struct sk_buff that struct __sk_buff does not show. */
struct sk_buff___summed {
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak; /* Linux 6.3 */

static __always_inline enum ctx_sum ctx_sum(ctx_t *ctx)
{
	enum { NONE, UNNECESSARY, COMPLETE, PARTIAL }; /* CHECKSUM_ of include/linux/skbuff.h */
	struct sk_buff___summed *skb;

	if (!bpf_ksym_exists(bpf_cast_to_kern_ctx))
		return CTX_SUM_OTHER;
	skb = bpf_cast_to_kern_ctx(ctx);
	switch (BPF_CORE_READ_BITFIELD(skb, ip_summed)) {
	case NONE:
	case UNNECESSARY:
		return CTX_SUM_WHOLE;
	case PARTIAL:
		return CTX_SUM_PARTIAL;
	}
	return CTX_SUM_OTHER;
}

#endif
