/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The node's own devices. */
#ifndef SLUICEWAY_ABI_UPLINK_H
#define SLUICEWAY_ABI_UPLINK_H

#include "dp/abi/types.h"

/*
 * A device of the node's own whose incoming packets pass uplink_ingress(): what leaves by it under other sources than its senders' has
 * these, where its route names none; zeros: the node's.
 */
struct uplink {
	ip_addr addr4;
	ip_addr addr6;
};

#endif
