/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Why a packet left the path, and the record of one that was dropped. */
#ifndef SLUICEWAY_ABI_DROP_H
#define SLUICEWAY_ABI_DROP_H

#include "dp/abi/types.h"

/* Zero is no reason: the packet goes on.  Values are appended, never reused; no two causes share one. */
enum drop_reason {
	DROP_NONE,
	DROP_SHORT_PACKET,	/* ends inside a header it announces */
	DROP_BAD_HEADER,	/* an IP header whose version or length field is impossible */
	DROP_EXTENSION_HEADERS, /* more IPv6 extension headers than are followed */
	DROP_MAPPED_ADDRESS,	/* an IPv6 packet that carries an address in ::ffff:0:0/96 */
	DROP_ETHERTYPE,		/* a pod sent neither IPv4, IPv6 nor ARP */
	DROP_SOURCE_MAC,	/* a pod sent from a MAC that is not its own */
	DROP_SOURCE_ADDRESS,	/* a pod sent from an address that is not its own, nor of who it routes for */
	DROP_NO_BACKEND,	/* the service has no endpoint; the sender was refused */
	DROP_NO_BACKEND_SILENT, /* the service has no endpoint; the packet was not one that can be answered */
	DROP_NO_LOCAL_BACKEND,	/* traffic policy Local, and no endpoint on this node */
	DROP_BACKEND_LOST,	/* a service's table names a backend that is not there */
	DROP_CONNTRACK_FULL,	/* a translated flow needs an entry and the table is full */
	DROP_NAT_PORTS,		/* every source port tried for a translation is taken */
	DROP_NAT_ADDRESS,	/* source translation needed, the node has no address of the family */
	DROP_REWRITE,		/* the kernel refused to change the packet */
	DROP_NO_ROUTE,		/* a translated or encapsulated packet for which the kernel has no route */
	DROP_TTL,		/* a translated packet whose TTL or hop limit is spent */
	DROP_NO_TUNNEL,		/* for the tunnel, and no node is known behind it for the destination */
	DROP_INGRESS_LIMIT,	/* more is on its way to the pod than its limit lets through */
	DROP_EGRESS_LIMIT,	/* the pod sends more than its limit lets through */
	DROP_TOO_BIG,		/* does not fit the way on, and may not be fragmented; the sender was told */
	DROP_TOO_BIG_SILENT,	/* the same, and not one that can be answered */
	DROP_FRAGMENT_ALONE,	/* a later fragment waited for its datagram's first, which did not come */
	DROP_OWN_SOURCE,	/* came in from outside under an address of this node, of a pod of it, or loopback */
	DROP_VLAN,		/* a pod sent a tagged frame */
	DROP_ARP,		/* a pod's ARP that speaks of another than the pod, or unasked */
	DROP_ND,	    /* a pod's neighbour or router discovery that speaks of another than the pod, or unasked */
	DROP_DHCP_ANSWER,   /* a pod answered for a DHCP server to a link or the node */
	DROP_TUNNEL_POD,    /* a pod sent to a node what is encapsulated as nodes do */
	DROP_TUNNEL_OUTER,  /* encapsulated by somebody who is no node of the cluster */
	DROP_TUNNEL_INNER,  /* encapsulated by a node that may not speak for the source, or not to the destination */
	DROP_TUNNEL_HEADER, /* for the tunnel, under another header than its own */
	DROP_STRAY_SEGMENT, /* a TCP RST or SYN-ACK, or SCTP's like, of a connection that nobody knows and that would be translated */
	DROP_ROUTED_BACK,	/* a pod sent what is for somebody behind itself, for whom it routes */
	DROP_NO_SERVICE,	/* for a service's address, at a port that none has for this sender, who was refused */
	DROP_NO_SERVICE_SILENT, /* the same, and not one that can be answered */
	DROP_SERVICE_SOURCE,	/* came in from outside as from a service, for which nobody outside speaks */
	DROP_NAT_PROTOCOL,   /* a pod's packet to where pods are masqueraded, of a kind that is not: it has no ports */
	DROP_STRAY_ERROR,    /* a pod's ICMP error to where pods are masqueraded, about no flow that is known */
	DROP_NAT_WAY,	     /* its flow's way has moved to where another source is right; the flow begins anew */
	DROP_POLICY_INGRESS, /* no policy of the pod that it is for accepts it, or one denies it */
	DROP_POLICY_EGRESS,  /* no policy of the pod that sends it accepts it, or one denies it */
	DROP_POLICY_UNKNOWN, /* from or for a pod whose rules are not here yet, or that has just gone */
	DROP_SOURCE_RANGE,   /* for a load balancer's address, from outside its service's loadBalancerSourceRanges */
	DROP_DENIED_PREFIX,  /* from a range on the list of those that XDP lets nothing in from */
	DROP_FLOW_MOVES, /* of a connection that is not known while flows are carried to other maps; it is sent again */
	DROP_FLOW_SHARE, /* a flow needs an entry, and who begins it has its share of the table, which is nearly full */
	DROP_SCTP_FRAGMENT, /* begins an SCTP packet in fragments whose port would change, and with it the sum over them all */
	DROP_FLOW_ENDED, /* answers what opened a connection, which begins anew elsewhere at this moment */
	DROP_REASONS,	 /* count, keep last */
};

enum {
	DROPS_KEPT = 1024, /* of each CPU, a power of two */
};

enum drop_flag {
	/* it was not dropped: policy would have, were it not for the pod's namespace, which is audited */
	DROP_AUDITED = 1,
};

/* One of the packets that were dropped last. */
struct drop_event {
	__u64 at_ns; /* CLOCK_MONOTONIC; 0: none yet */
	ip_addr src; /* as the packet had them when it was dropped */
	ip_addr dst;
	__be16 sport; /* 0 without ports */
	__be16 dport;
	__u8 protocol;
	__u8 reason;	/* enum drop_reason */
	__u8 hook;	/* program * DIRECTIONS + direction */
	__u8 flags;	/* enum drop_flag */
	__u16 sender;	/* of what policy dropped: the slot of the pod that sent it, 0 without one here */
	__u16 receiver; /* and of the pod that it was for */
	__u16 policy;	/* key of policies; 0: nobody's */
	__u16 pad;
};

#endif
