/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services: which address and port stands for which backend set, and who of the set answers a client. */
#ifndef SLUICEWAY_SERVICE_H
#define SLUICEWAY_SERVICE_H

#include "dp/abi/drop.h"
#include "dp/abi/service.h"
#include "dp/service/affinity.h"
#include "dp/endpoint/endpoint.h"
#include "dp/packet/hash.h"

EXPORT_ENUM(scope);
EXPORT_ENUM(service_flag);
EXPORT_ENUM(scheduler);

_Static_assert(sizeof(struct service_key) == 20, "hashed as bytes");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct service_key);
	__type(value, struct service);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} services SEC(".maps") AGENT_WRITES(90) SIZED_BY(max_services) REVISES(KEYS);

static __always_inline bool is_node_port(__be16 port)
{
	const struct node *n = node_now();

	return n && bpf_ntohs(port) >= n->node_port_min && bpf_ntohs(port) <= n->node_port_max;
}

/* Does the node itself find node ports at its loopback addresses of the family? */
static __always_inline bool loopback_has_node_ports(bool v4)
{
	const struct node *n = node_now();

	return n && !(n->flags & (v4 ? NODE_NO_LOOPBACK_PORTS4 : NODE_NO_LOOPBACK_PORTS6));
}

/* Are node ports at the address? At a loopback one for nobody outside, who may send there as well as not. */
static __always_inline bool has_node_ports(const ip_addr *addr, enum scope scope)
{
	struct endpoint *e;

	if (addr_is_loopback(addr))
		return scope == SCOPE_INTERNAL && loopback_has_node_ports(addr_is_v4(addr));
	e = endpoint_find(addr);
	return e && (e->flags & (ENDPOINT_NODE | ENDPOINT_NO_PORTS)) == ENDPOINT_NODE;
}

/* The service at an address that is not the node's. */
static __always_inline struct service *service_at(const ip_addr *addr, __be16 port, __u8 protocol, enum scope scope)
{
	struct service_key key = {.addr = *addr, .port = port, .protocol = protocol, .scope = scope};

	return bpf_map_lookup_elem(&services, &key);
}

/* The service that an address, port and protocol stand for; NULL when none. */
static __always_inline struct service *service_find(const ip_addr *addr, __be16 port, __u8 protocol, enum scope scope)
{
	struct service *s = service_at(addr, port, protocol, scope);
	ip_addr any;

	if (s || !is_node_port(port) || !has_node_ports(addr, scope))
		return s;
	any = addr_unspecified(addr);
	return service_at(&any, port, protocol, scope);
}

/* Why a service without a backend does not carry the packet. */
static __always_inline enum drop_reason service_empty(const struct service *s)
{
	return s->flags & SERVICE_LOCAL ? DROP_NO_LOCAL_BACKEND : DROP_NO_BACKEND;
}

/* The backend that the client had. */
static __noinline struct backend *service_backend_kept(const struct service *s, const ip_addr *client, __u16 *slot)
{
	struct affinity_key key = {.client = *client, .set_id = s->set_id};

	return affinity_find(s, &key, slot);
}

/* The client has the backend from now on. */
static __noinline void service_backend_keep(const struct service *s, const ip_addr *client, const struct backend *b,
					    __u16 slot)
{
	struct affinity_key key = {.client = *client, .set_id = s->set_id};

	affinity_keep(&key, b, slot);
}

/*
 * What a scheduler that goes by an address has in place of the flow's hash, the same on every node and at every hook. port: the
 * client's, in host order. A function of its own, verified once.
 */
__noinline int service_hash(const struct service *s, const ip_addr *client, const ip_addr *asked, __u32 port)
{
	const ip_addr *by = client;
	__u32 h = 0;

	if (!s || !client || !asked)
		return 0;
	if (s->scheduler == SCHEDULER_DH)
		by = asked;
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = hash_word(h, bpf_ntohl(by->w[i]));
	if (s->scheduler != SCHEDULER_DH && s->flags & SERVICE_BY_PORT)
		h = hash_word(h, port);
	return hash_word(h, 0x85ebca6b);
}

/*
 * The backend for a client: the one it had, where the service keeps clients, else by its scheduler. Nothing is kept on the stack
 * for the one while the other works.
 */
static __always_inline struct backend *service_backend(const struct service *s, const ip_addr *client, __u32 hash,
						       __u16 *slot)
{
	struct backend *b = s->affinity_s ? service_backend_kept(s, client, slot) : NULL;

	if (b)
		return b;
	b = backend_choose(s, hash, slot);
	if (b && s->affinity_s)
		service_backend_keep(s, client, b, *slot);
	return b;
}

#endif
