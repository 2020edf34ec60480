/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* As whom the rules of others mean an address. */
#ifndef SLUICEWAY_ABI_PEER_H
#define SLUICEWAY_ABI_PEER_H

#include "dp/abi/types.h"

/* As whom rules of others mean the pod at a slot: written for all pods before one has other rules, which know these. */
struct pod_class {
	__u32 class4; /* peer class of its IPv4 address */
	__u32 class6;
	__u32 said; /* 1, as POLICY_SAID */
};

/*
 * An address that rules mean by who has it: a pod's of another node, or a VF's. Pods of this one have their classes by their slots.
 * A range is the same in all networks.
 */
struct peer_key {
	ip_addr addr;
	__u16 network; /* 0: the cluster's; else the agent's number for a network of VFs */
	__u16 pad;
};

/*
 * A group of addresses that the same peers of this node's rules mean. Its number is this node's own, and stands for the same
 * peers as long as rules name it. 0: meant by none but those that mean everybody.
 */
struct peer_class {
	__u32 number;
};

#endif
