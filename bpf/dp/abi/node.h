/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What changes while the node runs. */
#ifndef SLUICEWAY_ABI_NODE_H
#define SLUICEWAY_ABI_NODE_H

#include "dp/abi/types.h"

enum node_flag {
	NODE_MASQUERADE = 1,	  /* pods go outside under an address of the node */
	NODE_LIMITS = 2,	  /* the limits map has entries */
	NODE_PACED = 4,		  /* so has paced_devices */
	NODE_IPIP = 8,		  /* IP in IP, by headers of our own */
	NODE_GENEVE = 16,	  /* on the wire the VXLAN device's packets are Geneve's */
	NODE_ANY_NETNS = 32,	  /* sockets of every network namespace are served: which are pods' is not known */
	NODE_HOST_ROUTING = 64,	  /* what pods send as it is goes by the stack, but for the tunnel */
	NODE_POLICY = 128,	  /* pods have rules */
	NODE_POLICY_REJECT = 256, /* who is denied is told */
	NODE_CHAINED = 512,	  /* other CNI plugins make the pods' network: what is for pods is left to the stack */
	NODE_NO_LOOPBACK_PORTS4 = 1024, /* the node itself finds no node ports at 127.0.0.0/8 */
	NODE_NO_LOOPBACK_PORTS6 = 2048, /* nor at ::1 */
	NODE_MASQUERADE_ALL = 4096,	/* backends see this node in place of its pods that ask services */
	NODE_SERVES_ALL = 8192,	  /* with NODE_CHAINED: services are served to whoever asks, and not to pods alone */
	NODE_OTHER_PROXY = 16384, /* another proxy serves services: what is for them goes by the stack, untranslated */
};

enum {
	PORT_WORDS = 65536 / 32,
};

/* The ports that nobody has on the node itself, a bit each, the least of a word first: translated flows may keep them. */
struct kept_ports {
	__u32 words[PORT_WORDS];
};

/* What changes while the node runs. One value, under key 0. */
struct node {
	ip_addr addr4; /* source of what is translated, unless its route has another; zeros: none */
	ip_addr addr6;
	__u64 netns_cookie;  /* of the node's own network namespace */
	__u32 revision LIVE; /* raised when an endpoint changes, or a service's address comes or goes */
	__u16 nat_port_min;  /* source ports for translation, host order, inclusive */
	__u16 nat_port_max;
	__u16 node_port_min; /* NodePort range, host order, inclusive */
	__u16 node_port_max;
	__u32 tunnel_ifindex; /* the device that encapsulates, with IPIP the one that has its MTU; 0: nothing is */
	__u32 tunnel_vni;
	__be16 tunnel_port; /* UDP port that other nodes are sent to; 0 with IPIP */
	__u16 flags;	    /* enum node_flag */
	/* with IPIP the device that segments GSO packets which came encapsulated and leave again */
	__u32 segmenter_ifindex;
	__u32 pad;
};

#endif
