/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services at the socket: a backend's address for the service's before there is a packet, and back. */
#ifndef SLUICEWAY_SOCK_H
#define SLUICEWAY_SOCK_H

#include "dp/service/sock_given.h"

enum { CONNECTION_REFUSED = -111 /* -ECONNREFUSED */ };

/*
 * Is it a datagram for the address to which its socket is connected? That one is left at the service's address, and so are
 * its datagrams: the kernel passes the address of an IPv4 peer of an IPv6 socket again with each. A socket of IPv6 that was
 * connected hears its old peer's address alone (the kernel's connect() with AF_UNSPEC forgets the port, not the address).
 */
static __always_inline bool is_connected_to(struct bpf_sock_addr *ctx, const struct peer *peer)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk || (sk->dst_port && sk->dst_port != peer->port))
		return false;
	if (addr_is_v4(&peer->addr))
		return sk->dst_ip4 == peer->addr.w[3];
	return sk->dst_ip6[0] == peer->addr.w[0] && sk->dst_ip6[1] == peer->addr.w[1] &&
	       sk->dst_ip6[2] == peer->addr.w[2] && sk->dst_ip6[3] == peer->addr.w[3];
}

/*
 * Can the service's address be left in place? Packets are translated one by one then, at the pod's device or the node's. What the
 * node sends to its own addresses does not come by there.
 */
static __always_inline bool can_be_left(const struct client *c, const struct peer *peer)
{
	return (c->pod || (c->on_node && !addr_is_node(&peer->addr))) && !addr_is_loopback(&peer->addr) &&
	       !addr_is_unspecified(&peer->addr);
}

/* Is the socket bound to a service's address, which the node has itself? To a backend elsewhere it needs another: at the devices. */
static __always_inline bool is_bound_to_service(struct bpf_sock_addr *ctx, bool v4)
{
	const volatile struct bpf_sock *sk = ctx->sk; /* volatile: both are read, and then one is taken */
	struct service_addr_key key = {.scope = SCOPE_INTERNAL};
	__be32 ip4;

	if (!sk)
		return false;
	ip4 = sk->src_ip4;
	key.addr = (ip_addr){.w = {sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]}};
	if (v4)
		key.addr = addr_v4(ip4);
	if (addr_is_unspecified(&key.addr))
		return false;
	if (bpf_map_lookup_elem(&service_addrs, &key))
		return true;
	key.scope = SCOPE_EXTERNAL;
	return bpf_map_lookup_elem(&service_addrs, &key);
}

/*
 * Is a connection asked of an address of services at which none answers? Where the address is, is not remembered here, as
 * location_of() does: a packet may come between, whose program writes at the same place. Datagrams are refused at the devices:
 * whoever connects a socket only to learn its own address (getaddrinfo()) is to have it.
 */
static __noinline bool is_asked_of_nobody(struct bpf_sock_addr *ctx, const struct peer *peer, bool connects)
{
	struct service_addr_key key = {.addr = peer->addr, .scope = SCOPE_INTERNAL};
	struct prefix *prefix;

	if (!connects || ctx->type != STREAM || addr_is_unspecified(&peer->addr) || endpoint_find(&peer->addr) ||
	    routed_range_find(&peer->addr))
		return false;
	prefix = prefix_find(&peer->addr);
	if (prefix && (prefix->node_id || prefix->remote_id == REMOTE_CLUSTER_IP))
		return !prefix->node_id;
	if (bpf_map_lookup_elem(&service_addrs, &key))
		return true;
	key.scope = SCOPE_EXTERNAL;
	return bpf_map_lookup_elem(&service_addrs, &key);
}

/*
 * The backend for a socket: a datagram socket's earlier one, where affinity does not say, else a new one, which is kept. NULL:
 * the service's address stays. So it does, where it may, for a datagram socket that has the backend of another service already,
 * and where nothing more can be kept: else whoever opens sockets enough would have all others' hear of backends.
 */
static __always_inline struct backend *sock_backend(struct bpf_sock_addr *ctx, const struct peer *asked,
						    const struct service *s, const ip_addr *from, bool may_stay)
{
	struct sock_peer_key key = {.cookie = cookie_of(ctx)};
	struct backend *b = NULL;
	bool left = false;
	struct peer given;
	__u16 slot;

	if (ctx->type == DATAGRAM)
		b = sock_peer_find(&key, asked, s, &slot, &left);
	if (left && may_stay)
		return NULL;
	if (b && !s->affinity_s)
		return b;
	b = service_backend(s, from, sock_hash(ctx, asked, s, from), &slot);
	if (!b || !key.cookie)
		return b;
	left = may_stay && ctx->type == DATAGRAM && sock_peer_clashes(key.cookie, asked, b);
	given = left ? *asked : (struct peer){.addr = b->addr, .port = b->port};
	if (!sock_peer_note(&key, asked, s, &given, slot))
		left = may_stay;
	return left ? NULL : b;
}

/* Replaces the service's address by that of sock_backend(), if there is one. Not static: verified once, whoever asks. */
__noinline int give_backend(struct bpf_sock_addr *ctx, struct peer *peer, const struct service *s, const ip_addr *from,
			    bool may_stay)
{
	struct backend *b;

	if (!peer || !s || !from)
		return 0;
	b = sock_backend(ctx, peer, s, from, may_stay);
	if (!b)
		return 0;
	peer->addr = b->addr;
	peer->port = b->port;
	return 0;
}

/* Does a datagram socket go on with the backend that it had, where no backend takes new flows any more? */
__noinline int sock_goes_on(struct bpf_sock_addr *ctx, const struct peer *asked, const struct service *s)
{
	struct sock_peer_key key = {.cookie = cookie_of(ctx)};
	bool left = false;
	__u16 slot;

	if (!asked || !s)
		return false;
	return ctx->type == DATAGRAM && !s->affinity_s && sock_peer_find(&key, asked, s, &slot, &left);
}

/*
 * Replaces a service's address by a backend's. Returns 0, or -ECONNREFUSED when there is none, or no service at the port. Local
 * policy without a backend is left to be dropped at the devices.
 */
static __noinline int to_backend(struct bpf_sock_addr *ctx, struct peer *peer, bool connects)
{
	struct client c = client_of(ctx);
	struct service *s;
	ip_addr from = {};
	bool may_stay;

	if (c.is_foreign)
		return 0;
	s = service_asked(peer, ctx->protocol, &c);
	if (!s)
		return is_asked_of_nobody(ctx, peer, connects) ? CONNECTION_REFUSED : 0;
	if (s->flags & SERVICE_HELD) /* the devices see whether somebody listens there */
		return 0;
	if (c.on_node && is_bound_to_service(ctx, addr_is_v4(&peer->addr)))
		return 0;
	client_address(&c, addr_is_v4(&peer->addr), &from);
	if (!source_is_served(s, &from))
		return 0; /* the devices drop what is sent, and count it */
	if (!s->backends && !sock_goes_on(ctx, peer, s))
		return s->flags & SERVICE_LOCAL ? 0 : CONNECTION_REFUSED;
	may_stay = can_be_left(&c, peer);
	if (may_stay && ctx->type == DATAGRAM && (connects || is_connected_to(ctx, peer)))
		return 0; /* so that a connected datagram socket finds another backend when its own leaves */
	return give_backend(ctx, peer, s, &from, may_stay && c.pod);
}

/* Replaces a backend's address by the service's that this socket asked for. */
static __noinline void to_service(struct bpf_sock_addr *ctx, struct peer *peer)
{
	struct sock_peer_key key = {.cookie = bpf_get_socket_cookie(ctx)};

	for (__u32 i = 0; i < SOCK_PEERS; i++) {
		struct sock_peer *kept = sock_peer_at(&key, i);

		if (!kept)
			return;
		if (!sock_peer_has(kept, &peer->addr, peer->port))
			continue;
		peer->addr = kept->service;
		peer->port = kept->service_port;
		return;
	}
}

static __always_inline struct peer peer_read4(const struct bpf_sock_addr *ctx)
{
	return (struct peer){.addr = addr_v4(ctx->user_ip4), .port = ctx->user_port};
}

static __always_inline void peer_write4(struct bpf_sock_addr *ctx, const struct peer *peer)
{
	ctx->user_ip4 = peer->addr.w[3];
	ctx->user_port = peer->port;
}

static __always_inline struct peer peer_read6(const struct bpf_sock_addr *ctx)
{
	return (struct peer){
		.addr = {.w = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}},
		.port = ctx->user_port,
	};
}

static __always_inline void peer_write6(struct bpf_sock_addr *ctx, const struct peer *peer)
{
	ctx->user_ip6[0] = peer->addr.w[0];
	ctx->user_ip6[1] = peer->addr.w[1];
	ctx->user_ip6[2] = peer->addr.w[2];
	ctx->user_ip6[3] = peer->addr.w[3];
	ctx->user_port = peer->port;
}

#endif
