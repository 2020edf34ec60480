/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The only way from the other headers to the packet's buffer, so that they serve any hook that has one: ctx_t is what the
 * hook's programs are given. A program at XDP defines CTX_XDP before its first header; the headers that it includes use
 * nothing that ctx_skb.h alone has.
 */
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

#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp

#ifdef CTX_XDP
#include "dp/packet/ctx_xdp.h"
#else
#include "dp/packet/ctx_skb.h"
#endif

static __always_inline void *ctx_data(const ctx_t *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *ctx_end(const ctx_t *ctx)
{
	return (void *)(long)ctx->data_end;
}

static __always_inline bool ctx_is_linear(const ctx_t *ctx)
{
	return ctx->data_end - ctx->data >= ctx_length(ctx);
}

/* Asks the kernel's rules and routes; returns BPF_FIB_LKUP_RET_*. */
static __always_inline long ctx_fib_lookup(ctx_t *ctx, struct bpf_fib_lookup *question)
{
	return bpf_fib_lookup(ctx, question, sizeof(*question), 0);
}

#endif
