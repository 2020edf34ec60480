/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Flows: their keys, what is known of each, and the table that has them. */
#ifndef SLUICEWAY_ABI_FLOW_H
#define SLUICEWAY_ABI_FLOW_H

#include "dp/abi/location.h"

/*
 * Both directions of a flow meet in one key: its two ends, ordered so that both directions find the same (the order
 * itself means nothing; flow_key_of() in conntrack.h keeps it).
 */
struct flow_key {
	ip_addr lo_addr;
	ip_addr hi_addr;
	__be16 lo_port;
	__be16 hi_port;
	__u8 protocol;
	__u8 beside;   /* 1: a flow whose ends are already those of a translated one's answers */
	__u16 network; /* 0: as the node's devices see it; else the slot of the VF at which it is seen */
};

enum flow_flag {
	FLOW_ORIGIN_HI = 1,   /* the flow was begun by the hi end */
	FLOW_FORWARD = 2,     /* first of a translated pair: what the client sends */
	FLOW_REVERSE = 4,     /* second of a translated pair: what the backend answers */
	FLOW_REPLIED = 8,     /* the other end has answered */
	FLOW_FIN_ORIGIN = 16, /* TCP FIN seen from the end that began */
	FLOW_FIN_REPLY = 32,  /* TCP FIN seen from the other end */
	FLOW_RESET = 64,      /* TCP RST seen */
	FLOW_EXTERNAL = 128,  /* begun outside the cluster: struct service_key's scope */
	FLOW_BY_STACK = 256,  /* reached a pod through the node's stack, where somebody may have translated it */
	FLOW_ASSURED = 512,   /* not of TCP: packets came a second and more after the first answer */
	FLOW_BESIDE = 2048,   /* the forward entry's key has the ends of another flow's answers */
	/* of who is outside, under its own address, between two nodes: at the client's node, of a pair, to a pod of another
	 * node; at the pod's, of one entry, from the client's node, where its answers go */
	FLOW_TUNNEL = 4096,
	/* of such a flow the pod's node answers the client itself: at the client's node the forward entry, which sees but
	 * what the client sends; at the pod's a FLOW_REVERSE without a forward one, for its client is not translated there */
	FLOW_DSR = 8192,
	FLOW_CARRIED = 16384, /* its entry is a copy from another generation's table */
	FLOW_ENDED = 1024,    /* whoever has set this is about to delete both entries */
};

/*
 * What is known of a flow.  A flow that is not translated has one entry.  A translated one has two that live and die
 * together: FLOW_FORWARD under the client's packet and FLOW_REVERSE under the backend's answer; each holds the
 * packet's addresses after translation, so each names the other.  The end that began it pays for it; where that is on
 * another node, its answers go there.
 *
 * An entry is published whole.  What changes afterwards are seen_s and, in one word with the serial, the flags: the memory of a
 * flow that has ended is another's at once, and a note about the one must not reach the other.
 */
struct flow {
	__u32 serial; /* of this entry alone: half of it from its key, half counted */
	__u32 flags;  /* enum flow_flag */
	ip_addr to_src;
	ip_addr to_dst;
	__be16 to_sport;
	__be16 to_dport;
	struct peer_location ends[2]; /* of lo and hi; a service's side stands for the backend behind it */
	__u32 revision;		      /* struct node's, when ends and service were found */
	__u32 seen_s;		      /* last packet, in units of 2^30 ns of CLOCK_MONOTONIC (1.07 s) */
	__u32 set_id;		      /* FLOW_FORWARD: the set of the backend chosen */
	__u32 set_revision;	      /* the set's, when the backend was chosen */
	__u16 slot;		      /* the backend's in its set */
	__u16 way; /* FLOW_FORWARD: by which device it leaves, where its source is that way's: the ifindex's lower half */
};

enum { FLOW_KEY_WORDS = sizeof(struct flow_key) / sizeof(__u32) };

/* What says which buckets of the flow table a key has: a number for each word of it. */
struct flow_seed {
	__u64 words[FLOW_KEY_WORDS];
};

enum {
	FLOW_WAYS = 14, /* entries that a bucket of the flow table can have */
	FLOW_ROOM = 10, /* that it is reckoned with: so full a table loses no new flow by chance */
};

struct flow_bucket {
	__u32 tags[FLOW_WAYS]; /* what a hash of each way's key says; 0: the way is free */
	__u32 lock;	       /* 1: somebody inserts */
	__u32 elsewhere;       /* entries in their second bucket, whose first this is */
};

/* What is behind a way of a bucket. */
struct flow_entry {
	struct flow_key key;
	struct flow flow;
	__u64 pad;
};

/* Until when flows are carried to or from these maps, in the unit of each seen_s; 0: they are not. */
struct flow_move {
	__u32 until_s;
};

#endif
