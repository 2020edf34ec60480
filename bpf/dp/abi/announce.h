/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Addresses that this node announces on the subnets of its devices. */
#ifndef SLUICEWAY_ABI_ANNOUNCE_H
#define SLUICEWAY_ABI_ANNOUNCE_H

#include "dp/abi/types.h"

/* An address of a service that this node may announce on the subnet of a device. */
struct announced_key {
	ip_addr addr;
	__u32 ifindex;
};

struct announced {
	mac_addr mac; /* the device's */
	__u8 pad[2];
	__u64 heard_ns LIVE; /* CLOCK_BOOTTIME; when another host last said that it has the address */
};

/* Until when this node answers for what it announces; CLOCK_BOOTTIME, which also counts while the machine sleeps. */
struct announcing {
	__u64 fresh_until_ns; /* nobody else can have taken over */
	__u64 until_ns;	      /* the agent is there, which asks whether somebody has; at the latest it ends here */
};

struct mac_key {
	mac_addr mac;
	__u8 pad[2];
};

struct own_mac {
	__u32 ifindex;
};

#endif
