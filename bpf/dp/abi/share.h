/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who begins flows, and what of the flow table each may have. */
#ifndef SLUICEWAY_ABI_SHARE_H
#define SLUICEWAY_ABI_SHARE_H

#include "dp/abi/load.h"

/* Who begins flows, as an index of shares: a pod's is its slot and SHARE_PODS. */
enum {
	SHARE_OUTSIDE, /* whoever is not on this node, all together */
	SHARE_NODE,    /* this node's own processes */
	SHARE_PODS,    /* and from here on pods, each with whom it routes for */
};

enum {
	SHARE_LEAST = 256, /* entries that everybody may have while there is room */
	SHARE_TIMES = 4,   /* of those that are free in the flow table, so many times may be one's who begins more */
};

/* What somebody has of the flow table, and what of late was refused. */
struct share {
	struct load entries; /* of the flows that it began */
	__u32 mark;	     /* of conntrack GC's last run that has met one of them, and whether they were few then */
	__u32 refused;	     /* new flows that got no entry, for it had its share */
	__u32 portless;	     /* new flows for which no port was free */
	__u32 refused_s;     /* when either was last, as struct flow's; 0: never */
	__u32 holder;	     /* the attachment's revision then: another's may have the slot since */
};

#endif
