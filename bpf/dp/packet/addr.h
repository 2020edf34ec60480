/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Addresses of both families as one type: IPv4 is ::ffff:a.b.c.d (RFC 4291 2.5.5.2). */
#ifndef SLUICEWAY_ADDR_H
#define SLUICEWAY_ADDR_H

#include <linux/in6.h>

#include "dp/config.h"
#include "dp/packet/ctx.h"

#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

static __always_inline ip_addr addr_v4(__be32 addr)
{
	return (ip_addr){.w = {0, 0, MAPPED_PREFIX, addr}};
}

static __always_inline ip_addr addr_v6(const void *from)
{
	ip_addr addr;

	memcpy(&addr, from, sizeof(addr));
	return addr;
}

static __always_inline bool addr_is_v4(const ip_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[2] == MAPPED_PREFIX;
}

static __always_inline bool addr_equal(const ip_addr *a, const ip_addr *b)
{
	return a->w[3] == b->w[3] && a->w[2] == b->w[2] && a->w[1] == b->w[1] && a->w[0] == b->w[0];
}

static __always_inline bool addr_is_zero(const ip_addr *a)
{
	return (a->w[0] | a->w[1] | a->w[2] | a->w[3]) == 0;
}

/* fe80::/10 */
static __always_inline bool addr_is_link_local_v6(const ip_addr *a)
{
	return (a->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* ff00::/8, 224.0.0.0/4 or the IPv4 broadcast */
static __always_inline bool addr_is_multicast(const ip_addr *a)
{
	if (addr_is_v4(a))
		return (a->w[3] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000);
	return (a->w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* 127.0.0.0/8 or ::1 */
static __always_inline bool addr_is_loopback(const ip_addr *a)
{
	if (addr_is_v4(a))
		return (a->w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return a->w[0] == 0 && a->w[1] == 0 && a->w[2] == 0 && a->w[3] == bpf_htonl(1);
}

/* 0.0.0.0 or :: */
static __always_inline bool addr_is_unspecified(const ip_addr *a)
{
	return (a->w[0] | a->w[1] | a->w[3]) == 0 && (a->w[2] == 0 || a->w[2] == MAPPED_PREFIX);
}

/* Under which a node port stands: 0.0.0.0 or ::, of the family of a. */
static __always_inline ip_addr addr_unspecified(const ip_addr *a)
{
	return (ip_addr){.w = {0, 0, addr_is_v4(a) ? MAPPED_PREFIX : 0, 0}};
}

static __always_inline __u64 addr_half(const ip_addr *a, int first)
{
	return (__u64)a->w[first] << 32 | a->w[first + 1];
}

/* Is a behind b, in an order that is the same for everybody and means nothing? */
static __always_inline bool addr_is_behind(const ip_addr *a, const ip_addr *b)
{
	__u64 a_low = addr_half(a, 2), b_low = addr_half(b, 2);

	return a_low != b_low ? a_low > b_low : addr_half(a, 0) > addr_half(b, 0);
}

static __always_inline bool mac_equal(const mac_addr *a, const mac_addr *b)
{
	const __u16 *x = (const void *)a, *y = (const void *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

/* By words of two octets, to which headers are aligned; memcpy() would go octet by octet. */
static __always_inline void mac_copy(void *to, const mac_addr *from)
{
	const __u16 *x = (const void *)from;
	__u16 *y = to;

	y[0] = x[0];
	y[1] = x[1];
	y[2] = x[2];
}

/* every pod sees its node under this MAC, whatever device is between them */
#define NODE_MAC {{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}}
EXPORT_MAC(NODE_MAC);

#endif
