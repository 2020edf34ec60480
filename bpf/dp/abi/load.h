/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What conntrack GC counts again in each of its runs, and the sockets that count as their backends' load. */
#ifndef SLUICEWAY_ABI_LOAD_H
#define SLUICEWAY_ABI_LOAD_H

#include "dp/abi/types.h"

/*
 * A number that conntrack GC counts again in each of its runs: of a backend the open flows and sockets that this node began. What
 * begins in a run is in what it will have counted where it has passed the place already.
 */
struct load {
	__u32 flows LIVE; /* since the run before, as counted then and kept up since */
	__u32 met LIVE;	  /* of those that the run has passed */
	__u32 run LIVE;	  /* whose numbers these are: struct load_walk's, or one that is over */
};

/* How far conntrack GC has come in counting. One value, under key 0. */
struct load_walk {
	__u32 run;
	__u32 bucket; /* of the flow table: those below have been walked */
	__u32 place;  /* of load_sockets: those below have been walked */
};

/* That a service of SCHEDULER_LC was asked, so that there is something to count. One value, under key 0. */
struct load_use {
	__u32 is_used;
};

enum {
	LOAD_PLACES = 32768, /* that are counted, at most; a power of two */
	LOAD_WAYS = 8,	     /* places that one socket can have */
};

/* A socket that was given a backend and is counted there. */
struct load_socket {
	__u64 socket; /* cookie * SOCK_PEERS + place, as struct sock_peer_key's; 0: the place is free */
	__u32 set_id;
	__u32 slot;
};

#endif
