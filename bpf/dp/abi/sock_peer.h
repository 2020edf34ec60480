/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The services that a socket has asked. */
#ifndef SLUICEWAY_ABI_SOCK_PEER_H
#define SLUICEWAY_ABI_SOCK_PEER_H

#include "dp/abi/types.h"

enum {
	SOCK_PEERS = 8, /* services at most that a socket is known to have asked; one that asks more forgets some */
};

/* The places of a socket's peers are filled from 0 on, without gaps. */
struct sock_peer_key {
	__u64 cookie; /* of the socket */
	__u32 place;  /* below SOCK_PEERS */
	__u32 pad;
};

/* A service that a socket has asked, and the backend it was given: back to the service's address, and so again next time. */
struct sock_peer {
	ip_addr service;
	ip_addr backend;
	__be16 service_port;
	__be16 backend_port;
	__u32 set_id;
	__u16 slot;
	__u16 pad;
};

#endif
