/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Source ports of translated flows: a client's own where the node has it free, else one that follows from the client's
 * address and port, so that whomever a socket asks sees it under one port (RFC 4787 REQ-1).
 */
#ifndef SLUICEWAY_NAT_PORT_H
#define SLUICEWAY_NAT_PORT_H

#include "dp/abi/node.h"
#include "dp/abi/share.h"
#include "dp/config.h"
#include "dp/packet/hash.h"
#include "dp/packet/scratch.h"

enum {
	NAT_TRIES = 16, /* ports tried: with half of them taken, 16 fail once in 65,536 */
	PRIVILEGED_PORTS = 1024,
	PRIVILEGED_MIN = 512, /* below are those of well-known services; what rresvport(3) chooses from */
	OWNED_S = 120,	      /* in tick_s()'s unit: RFC 4787 REQ-5 wants two minutes */
	PORTS = 65536,
};

/* The UDP socket that a port stands for: a hash of its address and port, and when it last sent or was sent something. */
struct port_owner {
	__u32 socket;
	__u32 seen_s;
};

/*
 * By port, of IPv4 and then of IPv6. What is lost or written over by another CPU costs a socket another port at its next
 * server, nothing else: flows have their ports in their entries.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * PORTS);
	__type(key, __u32);
	__type(value, struct port_owner);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} port_owners SEC(".maps") PRIVATE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kept_ports);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} kept_ports SEC(".maps") AGENT_WRITES(97);

/* May a translated flow have its client's own port? */
static __always_inline bool port_is_kept(__u32 port)
{
	__u32 zero = 0, word = port / 32;
	const struct kept_ports *kept = bpf_map_lookup_elem(&kept_ports, &zero);

	barrier_var(word); /* the compiler knows its range, Linux 6.1's and 6.12's verifiers do not */
	return kept && kept->words[word & (PORT_WORDS - 1)] >> port % 32 & 1;
}

/* May it be a port that a translated flow has? */
static __always_inline bool is_nat_port(__be16 port)
{
	const struct node *n = node_now();
	__u32 number = bpf_ntohs(port);

	return n && ((number >= n->nat_port_min && number <= n->nat_port_max) || port_is_kept(number));
}

/* A hash of one end. */
static __always_inline __u32 socket_hash(const ip_addr *addr, __be16 port)
{
	__u32 h = hash_word(port, addr->w[0]);

	h = hash_word(h, addr->w[1]);
	return hash_word(hash_word(h, addr->w[2]), addr->w[3]);
}

static __always_inline struct port_owner *port_owner_of(bool v4, __be16 port)
{
	__u32 index = bpf_ntohs(port) + (v4 ? 0 : PORTS);

	return bpf_map_lookup_elem(&port_owners, &index);
}

/* Makes a port a socket's. False: it is another's, or was of late. */
static __always_inline bool port_claim(bool v4, __be16 port, __u32 socket)
{
	struct port_owner *o = port_owner_of(v4, port);

	if (!o)
		return true;
	if (o->seen_s && o->socket != socket && tick_s() - o->seen_s <= OWNED_S)
		return false;
	o->socket = socket;
	o->seen_s = tick_s();
	return true;
}

/* A flow of the socket is in use. */
static __always_inline void port_keep(bool v4, __be16 port, __u32 socket, __u32 seen_s)
{
	struct port_owner *o = port_owner_of(v4, port);

	if (o && o->socket == socket)
		o->seen_s = seen_s;
}

/*
 * The one of two neighbours in a range that may be a pod's; of two pods, in half of all pairs. So no pod takes more than half of the
 * ports towards a server, and of those that may be another's it leaves half.
 */
static __always_inline __u32 port_of_pair(__u32 at, __u32 span, __u32 slot)
{
	__u32 own = (at & ~1U) | hash_word(hash_word(slot, at / 2), slot) >> 31;

	return own < span ? own : span - 1; /* the last one has no neighbour */
}

/*
 * The n-th port for a socket, at a pod's slot or at none (0); a range that can be tried whole is. Mixed once, one socket in four would
 * have only odd ones, or only even ones.
 */
static __always_inline __be16 port_drawn(__u32 min, __u32 span, __u32 socket, __u32 n, __u32 slot)
{
	__u32 at;

	if (span <= NAT_TRIES)
		return bpf_htons(min + (socket + n) % span);
	at = hash_word(hash_word(socket, n), n) % span;
	return bpf_htons(min + (slot ? port_of_pair(at, span, slot) : at));
}

/* May a flow keep its client's own port, where the node has that free? Pods with many flows keep those alone that may be drawn for them. */
static __always_inline bool port_stays(const struct scratch *work, __u32 own, __u32 min, __u32 span)
{
	__u32 slot = work->pair.client.slot, at = own - min; /* below min it is behind the range's end */

	if (!port_is_kept(own))
		return false;
	return !slot || work->place.own <= SHARE_LEAST || at >= span || port_of_pair(at, span, slot) == at;
}

/*
 * The port that is tried next for a packet's sender; 0: none at this try. None is of those that the node itself has; a
 * privileged port stays one (NFS and others take it for root's). A port that stands for a UDP socket which asks outside is
 * no other's while there are others; when all that were tried stand for one, sockets share them, each towards other servers.
 */
__noinline int nat_port(const struct packet *p, __u32 try)
{
	const struct node *n = node_now();
	struct scratch *work = scratch();
	bool is_owned, is_privileged;
	__u32 min, span, own, socket;
	__be16 port;

	if (!p || !n || !work)
		return 0;
	own = bpf_ntohs(p->sport);
	min = n->nat_port_min;
	span = n->nat_port_max - min + 1;
	socket = socket_hash(&p->src, p->sport);
	is_owned = p->protocol == IPPROTO_UDP && !work->pair.set_id && !work->ct.is_beside;
	is_privileged = own < PRIVILEGED_PORTS && !(p->flags & PACKET_ECHO);
	if (is_privileged) {
		min = PRIVILEGED_MIN;
		span = PRIVILEGED_PORTS - PRIVILEGED_MIN;
	}
	port = p->sport;
	if (try % NAT_TRIES || p->flags & PACKET_ECHO || !port_stays(work, own, min, span))
		port = port_drawn(min, span, socket, try % NAT_TRIES, work->pair.client.slot);
	if (is_privileged && !port_is_kept(bpf_ntohs(port))) /* the agent's range is clear of the node's own ports */
		return 0;
	if (try >= NAT_TRIES)
		return is_owned ? port : 0;
	if (is_owned && !port_claim(p->flags & PACKET_V4, port, socket))
		return 0;
	return port;
}

#endif
