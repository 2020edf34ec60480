/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The backend that a client stays with. */
#ifndef SLUICEWAY_ABI_AFFINITY_H
#define SLUICEWAY_ABI_AFFINITY_H

#include "dp/abi/types.h"

struct affinity_key {
	ip_addr client;
	__u32 set_id;
};

struct affinity {
	ip_addr addr;
	__be16 port;
	__u16 slot;
	__u32 seen_s; /* as struct flow's */
};

#endif
