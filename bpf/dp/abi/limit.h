/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How much may pass an attachment. */
#ifndef SLUICEWAY_ABI_LIMIT_H
#define SLUICEWAY_ABI_LIMIT_H

#include "dp/abi/types.h"

/*
 * How much may pass in one direction (GCRA, ITU-T I.371; at_ns is its theoretical arrival time). What is sent
 * at the rate moves at_ns along with the clock; what is sent faster moves it ahead, burst_ns at most.
 */
struct limit {
	__u64 rate;	  /* bits per second; 0: no limit */
	__u64 burst_ns;	  /* time that the burst takes at the rate */
	__u64 at_ns LIVE; /* CLOCK_MONOTONIC; the programs' own, and theirs alone */
};

/* The limits of an attachment, by its slot. */
struct attachment_limits {
	struct limit ingress; /* to the pod */
	struct limit egress;  /* from the pod */
};

/* That a device of the node keeps the time of what it sends. */
struct paced_device {
	__u32 is_paced;
};

#endif
