/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services: the addresses they are asked at, and how each chooses who serves. */
#ifndef SLUICEWAY_ABI_SERVICE_H
#define SLUICEWAY_ABI_SERVICE_H

#include "dp/abi/types.h"

/* Who asks: traffic policies differ for clients inside the cluster and outside. */
enum scope {
	SCOPE_INTERNAL, /* pods and this node's processes */
	SCOPE_EXTERNAL, /* what comes in by the node's devices */
};

/*
 * A service's address, as packets carry it.  A node port stands under the unspecified address of its family
 * (::ffff:0.0.0.0 or ::) and matches every address of this node but those without node ports.
 */
struct service_key {
	ip_addr addr;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 scope;    /* enum scope */
};

/*
 * An address that is a service's. SCOPE_INTERNAL: it is of the cluster alone (clusterIPs). SCOPE_EXTERNAL: it leads in from outside, and who is
 * there may speak under it from other ports (externalIPs, a load balancer's).
 */
struct service_addr_key {
	ip_addr addr;
	__u32 scope; /* enum scope */
};

enum service_flag {
	SERVICE_LOCAL = 1,   /* traffic policy Local: without a backend the packet is dropped, not refused */
	SERVICE_HELD = 2,    /* at a cluster IP that the node has itself: a process of it may answer there */
	SERVICE_RANGED = 4,  /* at a load balancer's address: serves the sources in source_ranges alone */
	SERVICE_BY_PORT = 8, /* SCHEDULER_SH and SCHEDULER_MH: by the client's port too */
	/* who asks from outside keeps its address at another node's pod, which answers by this node */
	SERVICE_TUNNEL = 16,
	SERVICE_DSR = 32, /* or, with SERVICE_TUNNEL too, by its own */
};

/*
 * Sources that a load balancer's address serves, by the backend set that it leads to, which is of one family. prefix_bits counts
 * set_id too.
 */
struct source_range_key {
	__u32 prefix_bits;
	__u32 set_id;
	ip_addr addr;
};

/* Who of a set serves a new flow. Each gives backends flows by their weights. */
enum scheduler {
	SCHEDULER_MAGLEV, /* by the flow's hash, in the set's maglev tables */
	SCHEDULER_RR,	  /* in turn, by the set's ring */
	SCHEDULER_LC,	  /* who of the set's ring has the fewest open flows and sockets of this node's */
	SCHEDULER_SH,	  /* by a hash of the client's address, in the set's maglev tables */
	SCHEDULER_DH,	  /* by a hash of the address that is asked, in these */
	SCHEDULER_MH,	  /* as SCHEDULER_SH; IPVS has two tables for them */
	SCHEDULERS,	  /* count, keep last */
};

struct service {
	__u32 set_id;	  /* which backend set serves it */
	__u32 affinity_s; /* seconds a client stays with its backend since its last new flow; 0: no affinity */
	__u16 backends;	  /* of the set that take new flows; 0 refuses */
	__u16 parts;	  /* of the set's tables, a power of two: a flow's is flow_hash & (parts - 1) */
	__u16 flags;	  /* enum service_flag */
	__u16 slot;	  /* of the one backend, where there is but one: the set's table need not be asked */
	__u8 scheduler;	  /* enum scheduler */
	__u8 pad[3];
};

#endif
