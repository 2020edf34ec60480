/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Backend sets, and the tables by which a service finds a flow's backend. */
#ifndef SLUICEWAY_ABI_BACKEND_H
#define SLUICEWAY_ABI_BACKEND_H

#include "dp/abi/types.h"

/* What a backend set is made for, "namespace/name:port/protocol/family/view", so that ids survive the agent. */
struct backend_set {
	char label[192];
};

enum {
	SET_REVISIONS = 4096, /* sets share them by their ids' low bits: one that loses a backend has few others look */
};

/* Raised when a backend has left one of the sets: flows to them look whether theirs is still there. */
struct set_revision {
	__u32 number LIVE;
};

/* A backend set's place in memory is (set, slot); the slot is the backend's for as long as it is in the set. */
struct backend_key {
	__u32 set_id;
	__u32 slot;
};

enum backend_flag {
	BACKEND_LOCAL = 1, /* on this node: a pod of ours, or the node itself */
};

struct backend {
	ip_addr addr;
	__be16 port;
	__u8 flags;  /* enum backend_flag */
	__u8 weight; /* its share of new flows; 0: those that it has go on, it is given none */
};

enum {
	/* about a hundred for each of the 10 backends that one part serves at most (maps/shim_maglev.c) */
	MAGLEV_SLOTS = 1021,
};

struct maglev_key {
	__u32 set_id;
	__u32 part; /* below struct service's parts */
};

/* Which backend serves a flow: slots[flow_hash * MAGLEV_SLOTS >> 32]. One value, so a part's change is one atomic update. */
struct maglev {
	__u16 slots[MAGLEV_SLOTS];
};

enum {
	RING_PLACES = 511, /* 2 KiB in all */
};

struct ring_key {
	__u32 set_id;
	__u32 part; /* place / RING_PLACES */
};

/*
 * A set's backends one behind the other, in the order in which SCHEDULER_RR takes turns: each as often as its weight says. For
 * SCHEDULER_LC each once. One value, so a part's change is one atomic update; what is behind the ring's end begins it again, so
 * who knows an older length finds backends.
 */
struct ring {
	__u32 length; /* of the whole ring, in every part */
	__u16 slots[RING_PLACES];
	__u16 weights[RING_PLACES]; /* those of the backends there */
};

/* Whose turn it is in a set's ring. */
struct turn {
	__u32 taken LIVE; /* turns; the place is this modulo the ring's length */
};

#endif
