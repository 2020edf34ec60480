/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Addresses on this node, and the attachments that have them. */
#ifndef SLUICEWAY_ABI_ENDPOINT_H
#define SLUICEWAY_ABI_ENDPOINT_H

#include "dp/abi/types.h"

enum endpoint_flag {
	ENDPOINT_NODE = 1,     /* an address of this node itself: no device, the stack has it */
	ENDPOINT_HELD = 2,     /* and one of its devices has it: packets can be sent under it */
	ENDPOINT_NO_PORTS = 4, /* and node ports are not there */
};

/* Who has an address on this node.  Keyed by ip_addr. */
struct endpoint {
	__u16 slot;  /* the attachment's; 0 for the node */
	__u16 flags; /* enum endpoint_flag */
};

enum attachment_flag {
	ATTACHMENT_CHAINED = 1, /* another CNI plugin made the interface: what it sends and is sent goes by the stack */
	ATTACHMENT_AF_XDP =
		2, /* a program at the pod's end has packets before its stack, as bpf_redirect_peer() would not */
};

/*
 * A pod's interface.  Keyed by its slot: a small number that it keeps, and that another gets when it is gone.  Slot 0 is
 * nobody's.
 */
struct attachment {
	__u32 ifindex;	   /* the node's end of the veth; 0: none, for it is a VF, or nobody has the slot */
	__u32 revision;	   /* another one when another has the slot, or when its flows are to be decided anew */
	__u32 endpoint_id; /* the attachment's number */
	mac_addr mac;	   /* of the pod's end */
	__u16 flags;	   /* enum attachment_flag */
	__u8 pad[4];
	__u64 netns; /* cookie of the pod's network namespace, which all its interfaces have; 0: not known */
};

enum { OWN_ADDRESSES = 8 }; /* of a VF's interface, with that of its link */

/* A pod's addresses by its network namespace: the client that affinity knows at the socket hooks. */
struct pod_addresses {
	ip_addr addr4; /* zeros: none */
	ip_addr addr6;
};

#endif
