/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Rule sets: what is so for a class of peers, by protocol and port. */
#ifndef SLUICEWAY_ABI_RULE_H
#define SLUICEWAY_ABI_RULE_H

#include <linux/types.h>

/* A rule set's rule for a class; class 0 is that of everybody of whom it says no more. */
struct rule_key {
	__u32 rules; /* the rule set's number */
	__u32 peer_class;
};

enum policy_verdict {
	POLICY_DENY,
	POLICY_ACCEPT,
};

/* Destination ports of a protocol, both inclusive, host order. */
struct port_range {
	__u16 low;
	__u16 high;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 verdict;  /* enum policy_verdict */
	__u16 policy;  /* whose it is: key of policies; 0: nobody's */
};

enum {
	RULE_RANGES = 7, /* that stand in the rule itself, and make it one cache line */
};

/* What is so for a class: by destination port where a range names it, else the verdict here. No two ranges overlap. */
struct rule {
	__u32 port_list; /* of port_verdicts, where there are more ranges than stand here; 0: there are not */
	__u16 policy;
	__u8 verdict; /* enum policy_verdict */
	__u8 count;   /* of the ranges */
	struct port_range ranges[RULE_RANGES];
};

/* A port of a list, or several that begin with the same bits. prefix_bits counts list, protocol and pad too. */
struct port_verdict_key {
	__u32 prefix_bits;
	__u32 port_list;
	__u8 protocol;
	__u8 pad;
	__be16 port;
};

struct port_verdict {
	__u16 policy;
	__u8 verdict; /* enum policy_verdict */
	__u8 pad;
};

#endif
