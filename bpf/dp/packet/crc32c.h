/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * SCTP's checksum (RFC 9260 6.8 and appendix A; first RFC 3309), carried on by differences. A CRC is linear: what a change of some octets
 * adds to it depends on how many follow them, and not on what those are. So no payload is read.
 *
 * A polynomial is a word whose highest bit is x^0, as CRC32c's are.
 */
#ifndef SLUICEWAY_CRC32C_H
#define SLUICEWAY_CRC32C_H

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CRC32C_POLYNOMIAL 0x82f63b78
#define CRC32C_BEGIN 0xffffffff

enum { CRC32C_LENGTH_BITS = 16 /* an IP packet's length has no more */ };

/* The product of two polynomials, modulo CRC32c's. Without a branch, and verified once. */
__noinline __u32 crc32c_product(__u32 a, __u32 b)
{
	__u32 product = 0, polynomial = CRC32C_POLYNOMIAL ^ a;

	/* hidden from the verifier, which (in Linux 6.18) follows both values of a mask that cuts a constant, at each bit */
	barrier_var(polynomial);
	polynomial ^= a;
	for (int i = 0; i < 32; i++) {
		product ^= b & -(a >> 31);
		a <<= 1;
		b = b >> 1 ^ (polynomial & -(b & 1));
	}
	return product;
}

/* What a sum becomes by so many octets of zeros, at most 65,535. */
__noinline __u32 crc32c_zeros(__u32 sum, __u32 octets)
{
	/* x^8, and each the square of the one before */
	const __u32 powers[CRC32C_LENGTH_BITS] = {
		0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
		0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
	};

#pragma unroll
	for (int i = 0; i < CRC32C_LENGTH_BITS; i++)
		if (octets & 1 << i)
			sum = crc32c_product(sum, powers[i]);
	return sum;
}

/* Four octets, as a sum takes them in: the first is the lowest. */
static __always_inline __u32 crc32c_word(__be32 octets)
{
	return __builtin_bswap32(bpf_ntohl(octets));
}

/* The sum's word as it is sent. */
static __always_inline __le32 crc32c_octets(__u32 sum)
{
	return (__le32)bpf_htonl(__builtin_bswap32(sum));
}

/* What the change of four octets by `change`, the difference of both words, adds to the sum of a message with so many from there on. */
static __always_inline __u32 crc32c_change(__u32 change, __u32 octets)
{
	return crc32c_zeros(change, octets);
}

/* A sum with four octets more in it. */
static __always_inline __u32 crc32c_add(__u32 sum, __be32 octets)
{
	return crc32c_zeros(sum ^ crc32c_word(octets), sizeof(octets));
}

#endif
