/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a program before a pod's stack gives to the pod's AF_XDP sockets. */
#ifndef SLUICEWAY_ABI_XDP_POD_H
#define SLUICEWAY_ABI_XDP_POD_H

#include <linux/types.h>

/*
 * What a program before a pod's stack gives to the pod's AF_XDP sockets: a protocol's packets to a range of ports. Unused: protocol 0.
 */
struct steering_rule {
	__u8 protocol;
	__u8 pad;
	__u16 first_port; /* 0 to 65535: also what has no ports */
	__u16 last_port;
};

enum { STEERING_RULES = 16 }; /* of one interface */

/* What became of a packet at such a program, by which it is counted. */
enum steered {
	STEERED_SOCKET, /* given to the socket of its queue */
	STEERED_STACK,	/* left to the pod's stack */
	STEERED_NOBODY, /* dropped: no socket is at its queue */
	STEERED_BAD,	/* dropped: it could not be read */
	STEERED_COUNT
};

#endif
