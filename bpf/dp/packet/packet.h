/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A packet as the datapath speaks of it, whatever stood in which header. */
#ifndef SLUICEWAY_PACKET_H
#define SLUICEWAY_PACKET_H

#include <linux/in.h>

#include "dp/packet/addr.h"

enum packet_flag {
	PACKET_V4 = 1,
	PACKET_PORTS = 2, /* sport and dport are known */
	PACKET_L4 = 4,	  /* the transport header is in this packet, whole */
	PACKET_SYN = 8,	  /* TCP SYN without ACK, SCTP INIT */
	PACKET_FIN = 16,  /* also SCTP SHUTDOWN, and its acknowledgement */
	PACKET_RST = 32,  /* also SCTP ABORT */
	PACKET_FIRST_FRAGMENT = 64,
	PACKET_LATER_FRAGMENT = 128,
	PACKET_ICMP_ERROR = 256, /* quotes the packet it is about */
	PACKET_OTHER = 512,	 /* neither IPv4 nor IPv6: only ethertype is known */
	PACKET_ECHO = 1024,	 /* ICMP echo: its identifier stands for both ports */
	PACKET_OPENS = 4096,	 /* TCP SYN, SCTP INIT, the answers to them, and SCTP HEARTBEAT */
	PACKET_WHOLE = 8192,	 /* nobody may divide it on its way */
	PACKET_LINK = 16384,	 /* ICMPv6 of the link alone: neighbour discovery, multicast listeners */
	PACKET_FOLLOWS = 2048,	 /* a later fragment, and the first has come by */
};

struct packet {
	ip_addr src;
	ip_addr dst;
	__be16 sport;
	__be16 dport;
	__u16 flags;  /* enum packet_flag */
	__u16 l4;     /* offset of the transport header in the frame */
	__u32 length; /* of the transport header and what follows, octets; of a GSO packet more than 16 bits say */
	__be32 ident; /* of the datagram, when a fragment */
	__be16 ethertype;
	__u8 protocol;
	__u8 ttl;
};

/* Has the protocol connections, which one end begins and both end? What belongs to one, and is lost, is sent again. */
static __always_inline bool has_connections(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP;
}

/* Does it answer what opens a connection, or ask for another path of one? */
static __always_inline bool answers_opening(const struct packet *p)
{
	return p->flags & PACKET_OPENS && !(p->flags & PACKET_SYN);
}

/* Is it that, or does it end a connection? It begins none, and takes no port for one. */
static __always_inline bool is_stray(const struct packet *p)
{
	return p->flags & PACKET_RST || answers_opening(p);
}

/* Is it for a group, or for somebody on the link alone? */
static __always_inline bool is_for_link(const struct packet *p)
{
	return addr_is_multicast(&p->dst) || addr_is_link_local_v6(&p->dst);
}

/* the L3 offset: all devices that the programs are on have Ethernet headers */
enum { L3 = ETH_HLEN };

#endif
