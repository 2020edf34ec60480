/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ranges of addresses, and what is so of all that are in one. */
#ifndef SLUICEWAY_ABI_PREFIX_H
#define SLUICEWAY_ABI_PREFIX_H

#include "dp/abi/types.h"

/* A range of addresses. prefix_bits counts family and pad too: 32 + 96 + 24 for 10.244.1.0/24, 32 + 64 for fd00::/64. */
struct prefix_key {
	__u32 prefix_bits;
	__u8 family; /* 4 or 6: ::/0 does not contain IPv4 */
	__u8 pad[3];
	ip_addr addr;
};

/* Nothing that comes from there is let in. Keyed as prefixes. */
struct denied_prefix {
	__u32 line; /* of the file that names it */
};

enum prefix_flag {
	PREFIX_NO_MASQUERADE = 1, /* pods are seen there under their own addresses */
	PREFIX_NODE = 2,	  /* a node's own address: what it encapsulates is taken */
};

/* What is so of all addresses of a range, unless a longer prefix says otherwise. */
struct prefix {
	__u16 remote_id; /* as struct peer_location's */
	__u16 flags;	 /* enum prefix_flag */
	__u32 node_id;	 /* whose it is: a Node's pods and addresses have one number, by its name; 0: no Node's */
	/* key of remotes: where that Node is sent what is encapsulated although the kernel's routes lead there; 0: nowhere */
	__u16 forward_id;
	__u16 pad;
};

/* The pod that routes for a range of addresses, itself on no pod of this node. Keyed as prefixes. */
struct routed_range {
	__u16 slot; /* its attachment's */
	__u16 pad;
};

#endif
