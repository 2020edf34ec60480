/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services at the socket: a backend's address for the service's before there is a packet, and back. */
#ifndef SLUICEWAY_SOCK_H
#define SLUICEWAY_SOCK_H

#include "dp/service/service.h"

enum {
	CONNECTION_REFUSED = -111, /* -ECONNREFUSED */
	STREAM = 1,		   /* SOCK_STREAM */
	DATAGRAM = 2,		   /* SOCK_DGRAM */
};

/* Which service address a socket asked for when it was given this backend. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sock_peer_key);
	__type(value, struct sock_peer);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} sock_peers SEC(".maps") PROGRAMS_WRITE SIZED_BY(max_flows) CARRIED;

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

/* Who asks, as affinity knows clients; NULL pod: a process of the node itself. */
struct client {
	struct pod_addresses *pod;
	bool on_node;
};

static __always_inline struct client client_of(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	const struct node *n = node_now();

	return (struct client){.pod = bpf_map_lookup_elem(&pod_netns, &cookie),
			       .on_node = n && cookie == n->netns_cookie};
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
 * the node's own processes, who find the node ports there too; a pod means itself.
 */
static __always_inline struct service *service_asked(const struct peer *peer, __u8 protocol, const struct client *c)
{
	struct service *s;
	ip_addr any;

	if (!addr_is_loopback(&peer->addr) && !addr_is_unspecified(&peer->addr))
		return service_find(&peer->addr, peer->port, protocol, SCOPE_INTERNAL);
	if (!c->on_node)
		return NULL;
	s = service_at(&peer->addr, peer->port, protocol, SCOPE_INTERNAL);
	if (s || !is_node_port(peer->port))
		return s;
	any = addr_unspecified(&peer->addr);
	return service_at(&any, peer->port, protocol, SCOPE_INTERNAL);
}

static __always_inline void peer_keep(struct bpf_sock_addr *ctx, const struct peer *service, const struct backend *b)
{
	struct sock_peer_key key = {.cookie = bpf_get_socket_cookie(ctx), .addr = b->addr, .port = b->port};
	struct sock_peer value = {.addr = service->addr, .port = service->port};

	bpf_map_update_elem(&sock_peers, &key, &value, BPF_ANY);
}

/*
 * Replaces a service's address by a backend's. Returns 0, or -ECONNREFUSED when there is none.
 * A pod's connected datagram socket keeps the service's address: its packets are translated one by one at the pod's
 * device, so that they find another backend when theirs leaves. Local policy without a backend is left to be
 * dropped there as well.
 */
static __noinline int to_backend(struct bpf_sock_addr *ctx, struct peer *peer, bool connects)
{
	struct client c = client_of(ctx);
	struct peer asked = *peer;
	struct backend *b;
	struct service *s;
	ip_addr from = {};
	__u16 slot;

	s = service_asked(peer, ctx->protocol, &c);
	if (!s)
		return 0;
	if (!s->backends)
		return s->flags & SERVICE_LOCAL ? 0 : CONNECTION_REFUSED;
	if (connects && c.pod && ctx->type == DATAGRAM)
		return 0;
	client_address(&c, addr_is_v4(&peer->addr), &from);
	b = service_backend(s, &from, bpf_get_prandom_u32(), &slot);
	if (!b)
		return 0;
	peer_keep(ctx, &asked, b);
	peer->addr = b->addr;
	peer->port = b->port;
	return 0;
}

/* Replaces a backend's address by the service's that this socket asked for. */
static __noinline void to_service(struct bpf_sock_addr *ctx, struct peer *peer)
{
	struct sock_peer_key key = {.cookie = bpf_get_socket_cookie(ctx), .addr = peer->addr, .port = peer->port};
	struct sock_peer *service = bpf_map_lookup_elem(&sock_peers, &key);

	if (!service)
		return;
	peer->addr = service->addr;
	peer->port = service->port;
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
