/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What every layout is made of. Python sees all that is in this folder: maps/abi.py is generated from it, through BTF. */
#ifndef SLUICEWAY_ABI_TYPES_H
#define SLUICEWAY_ABI_TYPES_H

#include <linux/types.h>

/* A member that the programs or the writing itself keep: the agent does not compare it with what it wants. */
#define LIVE __attribute__((btf_decl_tag(":live")))

/* An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d, network order: one path serves both families. */
typedef struct {
	__be32 w[4];
} ip_addr;

/* An Ethernet address, as it stands on the wire. */
typedef struct {
	__u8 b[6];
} mac_addr;

#endif
