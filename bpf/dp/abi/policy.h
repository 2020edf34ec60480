/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What policy says of each pod, and whose rules there are. */
#ifndef SLUICEWAY_ABI_POLICY_H
#define SLUICEWAY_ABI_POLICY_H

#include <linux/types.h>

enum {
	RULES_UNKNOWN = 0, /* nothing passes: nobody has said yet which policies select the pod */
	RULES_NONE = 1,	   /* everything passes: no policy selects it */
	RULES_FIRST = 2,   /* the first number of a rule set */
};

enum pod_policy_flag {
	POLICY_AUDITED = 1, /* what policy would drop passes, and is counted */
	POLICY_SAID = 2,    /* by the agent, whatever it says: zeros are what nobody has written */
};

/*
 * What policy says of the pod at a slot. It is written before the attachment's revision, so who has read that reads what goes
 * with it, or later.
 */
struct pod_policy {
	__u16 ingress; /* rule set of what is sent to the pod; RULES_* */
	__u16 egress;  /* rule set of what the pod sends */
	__u16 flags;   /* enum pod_policy_flag */
	__u16 network; /* a VF's, by which its peers are known; 0: the cluster's */
};

enum {
	DIGEST_OCTETS = 16,
};

/* What a rule set or a peer class is made for, by a digest of that: so numbers survive the agent. */
struct policy_digest {
	__u8 octets[DIGEST_OCTETS];
};

/* Whose rules there are, "NetworkPolicy namespace/name": so a drop has a name when the agent is dead. */
struct policy_name {
	char label[344];
};

/* What was judged by a policy's rules; index of the counters: policy * DIRECTIONS + direction. */
struct policy_counter {
	__u64 accepted; /* flows, each time that they were judged */
	__u64 denied;	/* packets */
	__u64 audited;	/* packets that would have been denied */
};

enum {
	MAX_POLICIES = 16384, /* numbers below this have counters */
};

#endif
