/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a packet is met, and where it goes next. */
#ifndef SLUICEWAY_HOP_H
#define SLUICEWAY_HOP_H

#include <stdbool.h>

#include "dp/abi/counter.h"
#include "dp/abi/location.h"

#define HOOK(program, direction) ((program) * DIRECTIONS + (direction))

/* The entry programs, by what they count as. */
enum hook {
	HOOK_POD_INGRESS = HOOK(PROGRAM_POD, DIRECTION_INGRESS),       /* what a pod sends */
	HOOK_POD_EGRESS = HOOK(PROGRAM_POD, DIRECTION_EGRESS),	       /* what the node's stack sends to a pod */
	HOOK_UPLINK_INGRESS = HOOK(PROGRAM_UPLINK, DIRECTION_INGRESS), /* what comes in by a device of the node */
	HOOK_UPLINK_EGRESS = HOOK(PROGRAM_UPLINK, DIRECTION_EGRESS),   /* what leaves by one */
	HOOK_TUNNEL_INGRESS = HOOK(PROGRAM_TUNNEL, DIRECTION_INGRESS), /* what the segmenter made of a GSO packet */
	HOOK_TUNNEL_EGRESS = HOOK(PROGRAM_TUNNEL, DIRECTION_EGRESS),   /* what the stack sends by the tunnel's device */
	HOOK_XDP = HOOK(PROGRAM_XDP, DIRECTION_INGRESS), /* what comes in by a device of the node, before tc has it */
};

enum hop {
	HOP_STACK,     /* on, to the kernel's stack or the next program on the hook */
	HOP_POD,       /* the pod at struct forward's peer */
	HOP_TUNNEL,    /* the node where the peer is, by the device that encapsulates */
	HOP_FRAGMENTS, /* that node too, in fragments: our own header leaves it too large */
	HOP_FIB,       /* by the kernel's route past its stack, where that is as good; else to the stack */
	HOP_OUT,  /* by the kernel's route for the destination, past the stack: it refuses our own source addresses */
	HOP_LOOP, /* from this node to this node: in by the loopback device */
	HOP_BACK, /* by the device where it came in: it has become the answer to itself */
	HOP_NONE, /* nowhere, and not counted here: a queued fragment, which comes again, or what nobody sent */
};

/* What becomes of a packet: found out by an entry program's first half, carried out by finish(). */
struct forward {
	enum hook hook;
	enum hop hop;
	struct peer_location peer; /* where the packet's destination is */
	__u32 ifindex;		   /* and the pod's device there; 0: it is no pod's of this node */
	mac_addr mac;		   /* and the pod's */
	__u32 octets;		   /* of the frame, as it came */
	__u32 cached;		   /* of its flow, see struct ct_ctx; wanted for HOP_FIB */
	__u32 mtu;		   /* that the packet is too large for; 0: the tunnel's */
	__u16 way;		   /* of its flow, as struct flow's; 0: any is right */
	bool is_ours;		   /* counted: at the node's devices much is not */
	bool is_translated;
	bool is_renamed;       /* it leaves under another source address than its sender's */
	bool is_answer;	       /* at HOOK_UPLINK_EGRESS: to a client, whom the stack's route reaches */
	bool is_af_xdp;	       /* at the pod's device a program has packets before the pod's stack */
	bool is_by_stack;      /* the flow's packets go through the stack */
	bool is_chained;       /* so does all that a pod sends or is sent whose interface another CNI plugin made */
	bool came_past_stack;  /* the flow was begun from outside, and its packets reach the pod past the stack */
	bool was_encapsulated; /* it came in under a header of ours */
	bool is_own_answer;    /* it comes in as this node's own programs answered what the node sent */
	__u8 audited;	       /* enum drop_reason: why policy would have dropped it */
	bool is_answered;      /* it is dropped, and has become what its sender is told */
	bool begins;	       /* at HOOK_XDP: its flow begins with it */
	bool is_about_flow;    /* an ICMP error, about a flow that is known */
	bool is_left;	       /* at HOOK_UPLINK_EGRESS, HOOK_TUNNEL_EGRESS: a pod's, which came there by the stack */
	bool is_forwarded;     /* its flow is FLOW_TUNNEL */
	__u16 via;	       /* key of remotes: the node that sends it for who is outside; 0: none does */
	__be16 asked_port;     /* of the service at struct scratch's asked: what DSR tells, or was told; 0: nothing */
};

#endif
