/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What conntrack GC says of itself. */
#ifndef SLUICEWAY_ABI_GC_H
#define SLUICEWAY_ABI_GC_H

#include <linux/types.h>

/* What the last run of conntrack GC saw. */
struct gc_run {
	__u64 runs;
	__u64 expired; /* flows ended since the map was made */
	__u64 at_ns;   /* CLOCK_MONOTONIC */
	__u32 flows;   /* entries left */
	__u32 unanswered;
};

#endif
