/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Where one end of a flow is: at an attachment here, this node itself, another node's tunnel, a service's address, where nobody
 * is, or wherever the kernel's routes lead.
 */
#ifndef SLUICEWAY_LOCATION_H
#define SLUICEWAY_LOCATION_H

#include "dp/abi/drop.h"
#include "dp/abi/service.h"
#include "dp/endpoint/endpoint.h"
#include "dp/endpoint/interface.h"
#include "dp/endpoint/prefix.h"
#include "dp/packet/scratch.h"

enum { LOCATIONS = 1024 }; /* of a CPU */

/*
 * Where an address was found last. Every CPU remembers its own, each at its hash's place, while the revision is the same.
 * It is so whoever asked: a sender that is not yet checked leaves nothing of its own here.
 */
struct location {
	ip_addr addr;
	struct peer_location peer;
	__u32 revision; /* struct node's, read before the address was looked up */
	__u32 pad;
};

_Static_assert(sizeof(struct location) == 32, "two to a cache line");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOCATIONS);
	__type(key, __u32);
	__type(value, struct location);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} locations SEC(".maps") PRIVATE PER_CPU(1024);

/* Where an address is remembered, or is to be; NULL: this CPU remembers none. */
static __always_inline struct location *location_at(const ip_addr *addr)
{
	__u64 hash = (addr_half(addr, 0) * 0x9e3779b97f4a7c15 ^ addr_half(addr, 2)) * 0xbf58476d1ce4e5b9;
	__u32 index = bpf_get_smp_processor_id() * LOCATIONS + (hash >> 32 & (LOCATIONS - 1));

	return bpf_map_lookup_elem(&locations, &index);
}

/* The attachment where an end is; NULL: it is at none, or was at one that is no more what it was. */
static __always_inline struct attachment *location_attachment(const struct peer_location *peer)
{
	struct attachment *a;

	if (!peer->slot)
		return NULL;
	a = attachment_at(peer->slot);
	return a && a->revision == peer->revision ? a : NULL;
}

/* Is the end a pod whose interface another CNI plugin made? */
static __always_inline bool is_chained(const struct peer_location *peer)
{
	const struct attachment *a = location_attachment(peer);

	return a && a->flags & ATTACHMENT_CHAINED;
}

/* Is the end still where it was found? Who is at no attachment is told by the node's revision alone. */
static __always_inline bool location_holds(const struct peer_location *peer)
{
	return !peer->slot || location_attachment(peer);
}

/* Who is at an attachment's slot, or behind the pod there. */
static __always_inline void location_attach(__u16 slot, struct peer_location *peer)
{
	struct attachment *a = attachment_at(slot);

	if (!a)
		return;
	peer->revision = a->revision;
	peer->slot = slot;
}

/* The addresses that services have: what is for one of them, and for no port of theirs, goes nowhere. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_addr_key);
	__type(value, __u32); /* 1 */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} service_addrs SEC(".maps") AGENT_WRITES(92) SIZED_BY(max_services) REVISES(KEYS);

/* The REMOTE_* of a service's address; 0: it is none. */
static __always_inline __u16 service_addr_remote(const ip_addr *addr)
{
	struct scratch *work = scratch();

	if (!work)
		return 0;
	work->address.addr = *addr;
	work->address.scope = SCOPE_INTERNAL;
	if (bpf_map_lookup_elem(&service_addrs, &work->address))
		return REMOTE_CLUSTER_IP;
	work->address.scope = SCOPE_EXTERNAL;
	return bpf_map_lookup_elem(&service_addrs, &work->address) ? REMOTE_EXTERNAL_IP : 0;
}

/* Where an address is that is no endpoint's. */
static __always_inline void location_beyond(const struct prefix_key *key, const struct node *n,
					    struct peer_location *peer)
{
	struct routed_range *range = bpf_map_lookup_elem(&routed_ranges, key);
	struct prefix *prefix;

	if (range) {
		peer->remote_id = REMOTE_BEHIND;
		location_attach(range->slot, peer);
		return;
	}
	prefix = bpf_map_lookup_elem(&prefixes, key);
	if (!prefix || !prefix->node_id) /* a Node's address is also its own where services have it */
		peer->remote_id = service_addr_remote(&key->addr);
	if (!peer->remote_id && prefix && (n->tunnel_ifindex || !remote_is_tunnel(prefix->remote_id)))
		peer->remote_id = prefix->remote_id;
}

static __always_inline void location_look_up(const ip_addr *addr, const struct node *n, struct peer_location *peer)
{
	struct prefix_key key = prefix_key_of(addr); /* Linux 6.1 looks up no key that a function was given */
	struct endpoint *e = endpoint_find(&key.addr);

	memset(peer, 0, sizeof(*peer));
	if (!e)
		location_beyond(&key, n, peer);
	else if (e->flags & ENDPOINT_NODE)
		peer->remote_id = REMOTE_SELF;
	else
		location_attach(e->slot, peer);
}

/* Asks for an address anew, and remembers it. Not static: it is verified once, and not wherever an address is looked for. */
__noinline int location_ask(const ip_addr *addr, struct peer_location *peer)
{
	const struct node *n = node_now();
	struct location *known;
	__u32 revision;

	if (!addr || !peer)
		return 0;
	if (!n) {
		memset(peer, 0, sizeof(*peer));
		return 0;
	}
	known = location_at(addr);
	revision = *(volatile __u32 *)&n->revision;
	fence_reads(); /* the revision is read, endpoints and prefixes are not */
	location_look_up(addr, n, peer);
	if (!known)
		return 0;
	known->addr = *addr;
	known->peer = *peer;
	known->revision = revision;
	return 0;
}

/* Finds where an address is. What a VF has itself, its own programs alone know. */
static __always_inline void location_of(const ip_addr *addr, struct peer_location *peer)
{
	const struct location *known = location_at(addr);
	const struct node *n = node_now();

	if (IS_AT_VF && is_own_address(addr)) {
		memset(peer, 0, sizeof(*peer));
		location_attach(own_slot, peer);
	} else if (n && known && known->revision == n->revision && addr_equal(&known->addr, addr) &&
		   location_holds(&known->peer)) {
		*peer = known->peer;
	} else {
		location_ask(addr, peer);
	}
}

/* Is it a service's address that leads in from outside, or one of the cluster alone, or kept for services? */
static __always_inline bool is_service_address(const struct peer_location *peer)
{
	return peer->remote_id == REMOTE_CLUSTER_IP || peer->remote_id == REMOTE_EXTERNAL_IP;
}

/*
 * Is what this node itself sends, without a flow, for an address of services, and no answer? Nobody who asks the node has one
 * that is of the cluster alone. From one that leads in from outside a load balancer may: what it asks has a flow, but for connections
 * from before the address was a service's.
 */
static __always_inline bool is_asked_of_no_service(const struct packet *p, const struct peer_location *to)
{
	if (to->remote_id != REMOTE_EXTERNAL_IP)
		return to->remote_id == REMOTE_CLUSTER_IP;
	return !has_connections(p->protocol) || p->flags & PACKET_SYN;
}

/* Is it an address of this node, of a pod of it, or of who is behind such a pod? */
static __always_inline bool is_located_here(const struct peer_location *peer)
{
	return peer->slot || peer->remote_id == REMOTE_SELF;
}

/* Is it an address that a pod of this node has not itself, but routes for? */
static __always_inline bool is_behind_pod(const struct peer_location *peer)
{
	return peer->remote_id == REMOTE_BEHIND;
}

/*
 * Are both ends the same pod, at whichever of its interfaces? Not who is behind one. A VF's programs speak for that interface
 * alone: another's address on the VF's network is not the one here.
 */
static __always_inline bool is_same_pod(const struct peer_location *one, const struct peer_location *other)
{
	const struct attachment *a, *b;

	if (!one->slot || !other->slot || is_behind_pod(one) || is_behind_pod(other))
		return false;
	if (one->slot == other->slot)
		return true;
	if (IS_AT_VF)
		return false;
	a = location_attachment(one);
	b = location_attachment(other);
	return a && b && a->netns && a->netns == b->netns;
}

/* Is the packet at an attachment's device? A VF's programs are on their own alone. */
static __always_inline bool is_at_device(const ctx_t *ctx, const struct peer_location *from, const struct attachment *a)
{
	return IS_AT_VF ? from->slot == own_slot : a->ifindex == ctx_ifindex(ctx);
}

/* Has the pod behind the device sent this under its own name, or for somebody that it routes for? */
static __always_inline enum drop_reason check_source(ctx_t *ctx, const struct peer_location *from)
{
	const struct attachment *a = location_attachment(from);
	struct ethhdr *eth = ctx_data(ctx);

	if (!a || !is_at_device(ctx, from, a))
		return DROP_SOURCE_ADDRESS;
	if ((void *)(eth + 1) > ctx_end(ctx))
		return DROP_SHORT_PACKET;
	if (!mac_equal((mac_addr *)eth->h_source, &a->mac))
		return DROP_SOURCE_MAC;
	return DROP_NONE;
}

#endif
