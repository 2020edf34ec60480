/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Fragmented datagrams, and the fragments that wait for their first. */
#ifndef SLUICEWAY_ABI_FRAGMENT_H
#define SLUICEWAY_ABI_FRAGMENT_H

#include "dp/abi/types.h"

/*
 * One fragmented datagram. IPv6 tells them apart without the protocol (RFC 8200 4.5): in its later fragments stands what
 * follows the fragment header, which may be another extension.
 */
struct fragment_key {
	ip_addr src;
	ip_addr dst;
	__be32 ident;
	__u8 protocol; /* IPv6: 0 */
	__u8 pad;
	__u16 network; /* as struct flow_key's */
};

enum fragment_flag {
	FRAGMENT_FIRST = 1, /* the first has come by; until then, later ones wait */
	FRAGMENT_PORTS = 2, /* and it had ports */
};

/* What is known of a datagram: its ports, kept from its first fragment for the later ones. */
struct fragment {
	__be16 sport;
	__be16 dport;
	__u32 seen_s; /* as struct flow's */
	__u16 flags;  /* enum fragment_flag */
	__u8 protocol;
	__u8 pad;
};

enum slot_state {
	SLOT_FREE,
	SLOT_BUSY, /* somebody writes or sends it */
	SLOT_READY,
};

enum {
	/* places of one group, which all datagrams of a source share: the fragments of 64 KiB in packets of 1,280 fit */
	SLOTS_PER_GROUP = 64,
	SLOT_GROUPS = 16,
	SLOT_OCTETS = 9216, /* of a frame that can wait; a longer one goes on at once */
};

/* A later fragment that came before its datagram's first, and waits for it. */
struct fragment_slot {
	struct fragment_key key;
	__u32 state; /* enum slot_state */
	__u32 length;
	__u32 seen_s; /* as struct flow's */
	__u32 hook;   /* program * DIRECTIONS + direction: where it was kept */
};

#endif
