/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who asks at a socket's hook, and for which service. */
#ifndef SLUICEWAY_SOCK_CLIENT_H
#define SLUICEWAY_SOCK_CLIENT_H

#include "dp/abi/endpoint.h"
#include "dp/endpoint/location.h"
#include "dp/service/listener.h"

const volatile bool sockets_of_node_only
	DOC("sockets of the node's own network namespace alone are given backends") = false;

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
	__u16 pad;
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

#endif
