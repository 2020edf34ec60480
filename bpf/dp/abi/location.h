/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where one end of a flow is: at an attachment of this node, on another node, or nobody's. */
#ifndef SLUICEWAY_ABI_LOCATION_H
#define SLUICEWAY_ABI_LOCATION_H

#include "dp/abi/types.h"

/* Where one end of a flow is, as far as this node must know: at an attachment of its own, or elsewhere. */
struct peer_location {
	__u32 revision;	 /* the attachment's, when it was found; with another the end is to be found anew */
	__u16 slot;	 /* the attachment's; 0: of no pod here */
	__u16 remote_id; /* key of remotes: reached by encapsulation; REMOTE_*; 0: by the kernel's routes */
};

/* A remote_id that names no tunnel; nor does 0, which is wherever the kernel's routes lead. */
enum {
	REMOTE_SELF = 0xfffe,	     /* this node itself */
	REMOTE_BEHIND = 0xfffd,	     /* behind the pod at the slot, which routes for others */
	REMOTE_CLUSTER_IP = 0xfffc,  /* nobody: a service's address of the cluster alone, or one kept for services */
	REMOTE_EXTERNAL_IP = 0xfffb, /* a service's address for those outside: nobody for who asks there */
};

/* Another node, as the outer header of what is encapsulated names it. */
struct remote {
	ip_addr addr;
};

#endif
