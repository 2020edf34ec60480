/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Internet checksums (RFC 1071), and their differences when a header changes (RFC 1624). */
#ifndef SLUICEWAY_CSUM_H
#define SLUICEWAY_CSUM_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "dp/abi/types.h"

/* A 64-bit sum of 32-bit words, not folded: holds 2^32 of them. */
typedef __u64 csum_t;

static __always_inline csum_t csum_replace(csum_t sum, __u32 old, __u32 new)
{
	return sum + (__u32)~old + new;
}

static __always_inline csum_t csum_replace_addr(csum_t sum, const ip_addr *old, const ip_addr *new)
{
	sum = csum_replace(sum, old->w[0], new->w[0]);
	sum = csum_replace(sum, old->w[1], new->w[1]);
	sum = csum_replace(sum, old->w[2], new->w[2]);
	return csum_replace(sum, old->w[3], new->w[3]);
}

static __always_inline csum_t csum_add_addr(csum_t sum, const ip_addr *a)
{
	return sum + a->w[0] + a->w[1] + a->w[2] + a->w[3];
}

static __always_inline csum_t csum_words(csum_t sum, const __be32 *w, __u32 words)
{
	for (__u32 i = 0; i < words; i++)
		sum += w[i];
	return sum;
}

/* As the kernel's helpers take it: 32 bits with the carries added in. */
static __always_inline __u32 csum_32(csum_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* The 16 bits of one's complement sum that stand for it, not complemented. */
static __always_inline __u16 csum_16(csum_t sum)
{
	__u32 s = csum_32(sum);

	s = (s & 0xffff) + (s >> 16);
	return (s & 0xffff) + (s >> 16);
}

/* A checksum field after words behind it changed by diff (RFC 1624, equation 3). */
static __always_inline __sum16 csum_update(__sum16 field, csum_t diff)
{
	return ~csum_16(diff + (__u16)~field);
}

/* What a transport's checksum field holds. */
enum ctx_sum {
	CTX_SUM_WHOLE,	 /* the sum */
	CTX_SUM_PARTIAL, /* the pseudo-header's alone: the device adds the rest (CHECKSUM_PARTIAL) */
	CTX_SUM_OTHER,	 /* unknown; or the kernel trusts a sum of the whole packet beside it (CHECKSUM_COMPLETE) */
};

static __always_inline __u16 csum_add_16(__u16 a, __u16 b)
{
	__u32 sum = (__u32)a + b;

	return sum + (sum >> 16);
}

/*
 * A transport's checksum, of which ctx_sum() knows whether it is whole or left to the device, after addresses and ports
 * changed by so much.
 */
static __always_inline void csum_write(__sum16 *check, enum ctx_sum sum, __u16 addresses, __u16 ports, bool udp)
{
	__u16 whole;

	if (sum == CTX_SUM_PARTIAL) {
		*check = csum_add_16(*check, addresses);
		return;
	}
	if (udp && !*check)
		return;
	whole = ~csum_add_16(csum_add_16(~*check, addresses), ports);
	*check = udp && !whole ? 0xffff : whole; /* zero says that there is no sum (RFC 768) */
}

#endif
