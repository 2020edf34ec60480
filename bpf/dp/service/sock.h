/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services at the socket: a backend's address for the service's before there is a packet, and back. */
#ifndef SLUICEWAY_SOCK_H
#define SLUICEWAY_SOCK_H

#include "dp/endpoint/location.h"
#include "dp/service/listener.h"
#include "dp/service/sock_peer.h"

const volatile bool sockets_of_node_only
	DOC("sockets of the node's own network namespace alone are given backends") = false;

enum {
	CONNECTION_REFUSED = -111, /* -ECONNREFUSED */
	STREAM = 1,		   /* SOCK_STREAM */
	DATAGRAM = 2,		   /* SOCK_DGRAM */
	MPTCP = 262,		   /* IPPROTO_MPTCP */
};

/* The addresses of the pod whose network namespace it is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pod_addresses);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} pod_netns SEC(".maps") AGENT_WRITES(30) SIZED_BY(max_endpoints);

/* A socket address of either family; an IPv4 one in an IPv6 socket looks like any IPv4 one. */
struct peer {
	ip_addr addr;
	__be16 port;
};

/* Who asks, as affinity knows clients. */
struct client {
	struct pod_addresses *pod; /* NULL: none that is known */
	bool on_node;		   /* a process of the node itself */
	bool is_foreign;	   /* not to be served: neither of them, or in a pod, whose sockets are left alone */
};

static __always_inline struct client client_of(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct node *n = node_now();

	struct client c = {.on_node = n && cookie == n->netns_cookie};

	if (sockets_of_node_only) {
		c.is_foreign = !c.on_node;
		return c;
	}
	c.pod = bpf_map_lookup_elem(&pod_netns, &cookie);
	c.is_foreign = !c.pod && !c.on_node && n && !(n->flags & NODE_ANY_NETNS);
	return c;
}

static __always_inline void client_address(const struct client *c, bool v4, ip_addr *addr)
{
	const struct node *n = node_now();

	if (c->pod)
		*addr = v4 ? c->pod->addr4 : c->pod->addr6;
	else if (n)
		*addr = v4 ? n->addr4 : n->addr6;
}

/*
 * As service_find(). A loopback address, and the unspecified one that stands for it at the socket, is the node's only for
 * the node's own processes, who may find the node ports there too; a pod means itself.
 */
static __always_inline struct service *service_asked(const struct peer *peer, __u8 protocol, const struct client *c)
{
	struct service *s;
	ip_addr any;

	if (!addr_is_loopback(&peer->addr) && !addr_is_unspecified(&peer->addr))
		return service_find(&peer->addr, peer->port, protocol, SCOPE_INTERNAL);
	if (!c->on_node)
		return NULL;
	if (addr_is_loopback(&peer->addr)) { /* a pod's host port may be there */
		s = service_at(&peer->addr, peer->port, protocol, SCOPE_INTERNAL);
		if (s)
			return s;
	}
	if (!is_node_port(peer->port) || !loopback_has_node_ports(addr_is_v4(&peer->addr)))
		return NULL;
	any = addr_unspecified(&peer->addr);
	return service_at(&any, peer->port, protocol, SCOPE_INTERNAL);
}

/* ---- what a socket was given ------------------------------------------------------------------------------ */

static __always_inline bool sock_peer_is_of(const struct sock_peer *s, const struct peer *service)
{
	return s->service_port == service->port && addr_equal(&s->service, &service->addr);
}

static __always_inline bool sock_peer_has(const struct sock_peer *s, const ip_addr *backend, __be16 port)
{
	return s->backend_port == port && addr_equal(&s->backend, backend);
}

/*
 * The backend that a datagram socket had for the service, if it is still in the set; sets *left where the service's address stays
 * instead. key->place follows: where it is kept.
 */
static __always_inline struct backend *sock_peer_find(struct sock_peer_key *key, const struct peer *asked,
						      const struct service *s, __u16 *slot, bool *left)
{
	for (__u32 i = 0; i < SOCK_PEERS; i++) {
		struct sock_peer *kept = sock_peer_at(key, i);
		struct backend *b;

		if (!kept)
			return NULL;
		if (!sock_peer_is_of(kept, asked))
			continue;
		if (kept->set_id != s->set_id)
			return NULL;
		*left = sock_peer_has(kept, &asked->addr, asked->port);
		b = backend_find(kept->set_id, kept->slot);
		*slot = kept->slot;
		return b && sock_peer_has(kept, &b->addr, b->port) ? b : NULL;
	}
	key->place = bpf_get_prandom_u32() % SOCK_PEERS;
	return NULL;
}

/* Has the socket been given the backend for another service? Then nobody could tell for which one it answers. */
static __always_inline bool sock_peer_clashes(__u64 cookie, const struct peer *asked, const struct backend *b)
{
	struct sock_peer_key key = {.cookie = cookie};

	for (__u32 i = 0; i < SOCK_PEERS; i++) {
		struct sock_peer *kept = sock_peer_at(&key, i);

		if (!kept)
			return false;
		if (!sock_peer_is_of(kept, asked) && sock_peer_has(kept, &b->addr, b->port))
			return true;
	}
	return false;
}

/* given: the backend, or the service itself, whose address stays then. False: there is no room. */
static __always_inline bool sock_peer_keep(const struct sock_peer_key *key, const struct peer *asked,
					   const struct service *s, const struct peer *given, __u16 slot)
{
	struct sock_peer value = {.service = asked->addr,
				  .backend = given->addr,
				  .service_port = asked->port,
				  .backend_port = given->port,
				  .set_id = s->set_id,
				  .slot = slot};

	return !bpf_map_update_elem(&sock_peers, key, &value, BPF_ANY);
}

/* The socket is closed. */
static __always_inline void sock_peers_end(__u64 cookie)
{
	struct sock_peer_key key = {.cookie = cookie};

	for (__u32 i = 0; i < SOCK_PEERS; i++) {
		key.place = i;
		if (bpf_map_delete_elem(&sock_peers, &key))
			return;
		load_socket_ends(load_socket_number(cookie, i));
	}
}

/* What the scheduler goes by where that is no count: as nat_hash(). A port that the socket does not have yet is any. */
static __always_inline __u32 sock_hash(struct bpf_sock_addr *ctx, const struct peer *asked, const struct service *s,
				       const ip_addr *from)
{
	__u32 any = bpf_get_prandom_u32(), port = ctx->sk ? ctx->sk->src_port : 0;

	if (s->scheduler == SCHEDULER_MAGLEV)
		return any;
	return service_hash(s, from, &asked->addr, port ? port : any);
}

/* Keeps what the socket was given, and counts it where connections are counted and the service's address was not left. */
static __noinline void sock_peer_note(const struct sock_peer_key *key, const struct peer *asked,
				      const struct service *s, const struct peer *given, __u16 slot)
{
	bool left = given->port == asked->port && addr_equal(&given->addr, &asked->addr);
	__u64 number = load_socket_number(key->cookie, key->place);

	load_socket_ends(number); /* where the socket asked another before */
	if (sock_peer_keep(key, asked, s, given, slot) && !left && s->scheduler == SCHEDULER_LC)
		load_socket_begins(number, s->set_id, slot);
}

/*
 * The kernel's MPTCP socket, as far as to its cookie. A process has this one, and connect() is met on the first of its subflows,
 * which is another socket to the kernel, and ends without sock_release.
 */
struct mptcp_sock___cookie {
	struct {
		struct {
			struct {
				struct {
					struct {
						__u64 counter;
					} skc_cookie;
				} __sk_common;
			} sk;
		} icsk_inet;
	} sk;
} __attribute__((preserve_access_index));

/*
 * The cookie of the process's socket; an MPTCP socket has one since sock_create. 0: it has none, as it is older than the hooks, and
 * nothing is kept for it.
 */
static __always_inline __u64 cookie_of(struct bpf_sock_addr *ctx)
{
	struct mptcp_sock___cookie *m = NULL;

	/* a kernel without MPTCP does not know the helper's type */
	if (bpf_core_type_exists(struct mptcp_sock___cookie) && ctx->sk && ctx->type == STREAM)
		m = (void *)bpf_skc_to_mptcp_sock(ctx->sk);
	return m ? m->sk.icsk_inet.sk.__sk_common.skc_cookie.counter : bpf_get_socket_cookie(ctx);
}

/* ---- the hooks' work -------------------------------------------------------------------------------------- */

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
 * Can the service's address be left in place for datagrams? They are translated one by one then, at the pod's device or the
 * node's. What the node sends to its own addresses does not come by there.
 */
static __always_inline bool can_be_left(struct bpf_sock_addr *ctx, const struct client *c, const struct peer *peer)
{
	return ctx->type == DATAGRAM && (c->pod || (c->on_node && !addr_is_node(&peer->addr))) &&
	       !addr_is_loopback(&peer->addr) && !addr_is_unspecified(&peer->addr);
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
 * the service's address stays. So it does, where it may, for a datagram socket that has the backend of another service already.
 */
static __noinline struct backend *sock_backend(struct bpf_sock_addr *ctx, const struct peer *asked, struct service *s,
					       const ip_addr *from, bool may_stay)
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
	left = may_stay && sock_peer_clashes(key.cookie, asked, b);
	given = left ? *asked : (struct peer){.addr = b->addr, .port = b->port};
	sock_peer_note(&key, asked, s, &given, slot);
	return left ? NULL : b;
}

/* Does a datagram socket go on with the backend that it had, where no backend takes new flows any more? */
static __noinline bool sock_goes_on(struct bpf_sock_addr *ctx, const struct peer *asked, const struct service *s)
{
	struct sock_peer_key key = {.cookie = cookie_of(ctx)};
	bool left = false;
	__u16 slot;

	return ctx->type == DATAGRAM && !s->affinity_s && sock_peer_find(&key, asked, s, &slot, &left);
}

/*
 * Replaces a service's address by a backend's. Returns 0, or -ECONNREFUSED when there is none, or no service at the port. Local
 * policy without a backend is left to be dropped at the devices.
 */
static __noinline int to_backend(struct bpf_sock_addr *ctx, struct peer *peer, bool connects)
{
	struct client c = client_of(ctx);
	struct peer asked = *peer;
	struct backend *b;
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
	if (!s->backends && !sock_goes_on(ctx, &asked, s))
		return s->flags & SERVICE_LOCAL ? 0 : CONNECTION_REFUSED;
	may_stay = can_be_left(ctx, &c, peer);
	if (may_stay && (connects || is_connected_to(ctx, peer)))
		return 0; /* so that a connected datagram socket finds another backend when its own leaves */
	b = sock_backend(ctx, &asked, s, &from, may_stay && c.pod);
	if (!b)
		return 0;
	peer->addr = b->addr;
	peer->port = b->port;
	return 0;
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
