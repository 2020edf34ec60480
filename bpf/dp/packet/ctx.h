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

/* Are so many octets linear? */
static __always_inline bool ctx_has_linear(const ctx_t *ctx, __u32 octets)
{
	return ctx->data_end - ctx->data >= octets;
}

static __always_inline bool ctx_is_linear(const ctx_t *ctx)
{
	return ctx_has_linear(ctx, ctx_length(ctx));
}

/* Asks the kernel's rules and routes; flags: BPF_FIB_LOOKUP_*. Returns BPF_FIB_LKUP_RET_*. */
static __always_inline long ctx_fib_lookup(ctx_t *ctx, struct bpf_fib_lookup *question, __u32 flags)
{
	return bpf_fib_lookup(ctx, question, sizeof(*question), flags);
}

/* The address to which a socket is bound; an IPv4 one is the first word. */
static __always_inline void ctx_own_address(const struct bpf_sock *sk, __u32 size, __be32 own[4])
{
	if (size == sizeof(((struct bpf_sock_tuple *)0)->ipv4)) {
		own[0] = sk->src_ip4;
		return;
	}
	own[0] = sk->src_ip6[0];
	own[1] = sk->src_ip6[1];
	own[2] = sk->src_ip6[2];
	own[3] = sk->src_ip6[3];
}

/*
 * Sets *own to the address to which the socket is bound that would get a packet of the tuple, of size's family, in the namespace of
 * the device where this one is. False: there is no such socket. Two functions, for the
 * verifier knows the two sockets by different types.
 */
static __always_inline bool ctx_tcp_socket(ctx_t *ctx, struct bpf_sock_tuple *t, __u32 size, __be32 own[4])
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, t, size, BPF_F_CURRENT_NETNS, 0);

	if (!sk)
		return false;
	ctx_own_address(sk, size, own);
	bpf_sk_release(sk);
	return true;
}

static __always_inline bool ctx_udp_socket(ctx_t *ctx, struct bpf_sock_tuple *t, __u32 size, __be32 own[4])
{
	struct bpf_sock *sk = bpf_sk_lookup_udp(ctx, t, size, BPF_F_CURRENT_NETNS, 0);

	if (!sk)
		return false;
	ctx_own_address(sk, size, own);
	bpf_sk_release(sk);
	return true;
}

#endif
