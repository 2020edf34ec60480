/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The programs, and what each of them counts in each direction. */
#ifndef SLUICEWAY_ABI_COUNTER_H
#define SLUICEWAY_ABI_COUNTER_H

#include <linux/types.h>

/* The programs that count. */
enum program {
	PROGRAM_POD,	/* tc_pod: the node's end of a pod's veth */
	PROGRAM_UPLINK, /* tc_uplink: the node's own devices */
	PROGRAM_TUNNEL, /* tc_uplink: the device that encapsulates what the stack sends */
	PROGRAM_XDP,	/* xdp: the node's own devices, before there is a struct sk_buff */
	PROGRAMS,	/* count, keep last */
};

enum direction {
	DIRECTION_INGRESS,
	DIRECTION_EGRESS,
	DIRECTIONS, /* count, keep last */
};

enum {
	/* reasons a program and direction can hold in the counters; index = (program * DIRECTIONS + direction) * 64 + reason */
	COUNTER_REASONS = 64,
	COUNTERS = PROGRAMS * DIRECTIONS * COUNTER_REASONS,
};

/* Packets and bytes of one (program, direction, reason); DROP_NONE counts what was forwarded or left to the stack. */
struct counter {
	__u64 packets;
	__u64 octets; /* of the layer 2 frame */
};

#endif
