/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A process of the node that listens at a cluster IP itself, as NodeLocal DNSCache does at the DNS service's: it answers in
 * the service's place for as long as it is there.
 */
#ifndef SLUICEWAY_LISTENER_H
#define SLUICEWAY_LISTENER_H

#include "dp/service/source_range.h"
#include "dp/packet/packet.h"
#include "dp/packet/scratch.h"

/* Functions of their own, as the two sockets are of different types to the verifier. */
static __noinline bool tcp_socket_at(ctx_t *ctx, struct bpf_sock_tuple *t, __u32 size, __be32 own[4])
{
	return ctx_tcp_socket(ctx, t, size, own);
}

static __noinline bool udp_socket_at(ctx_t *ctx, struct bpf_sock_tuple *t, __u32 size, __be32 own[4])
{
	return ctx_udp_socket(ctx, t, size, own);
}

/* As ctx_tcp_socket(). The kernel finds sockets of TCP and UDP for programs, and of no other protocol. */
static __always_inline bool socket_at(ctx_t *ctx, __u8 protocol, struct bpf_sock_tuple *t, __u32 size, __be32 own[4])
{
	if (protocol == IPPROTO_TCP)
		return tcp_socket_at(ctx, t, size, own);
	return protocol == IPPROTO_UDP && udp_socket_at(ctx, t, size, own);
}

/*
 * Has a process of the node a socket for the packet, bound to its very destination? Who listens at every address does not mean
 * a service's.
 */
static __noinline bool listener_is_at(ctx_t *ctx, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	__u32 size = sizeof(t.ipv6);
	__be32 own[4] = {};

	if (p->flags & PACKET_V4) {
		size = sizeof(t.ipv4);
		t.ipv4.saddr = p->src.w[3];
		t.ipv4.daddr = p->dst.w[3];
		t.ipv4.sport = p->sport;
		t.ipv4.dport = p->dport;
	} else {
		memcpy(t.ipv6.saddr, &p->src, sizeof(p->src));
		memcpy(t.ipv6.daddr, &p->dst, sizeof(p->dst));
		t.ipv6.sport = p->sport;
		t.ipv6.dport = p->dport;
	}
	if (!socket_at(ctx, p->protocol, &t, size, own))
		return false;
	if (p->flags & PACKET_V4)
		return own[0] == p->dst.w[3];
	return own[0] == p->dst.w[0] && own[1] == p->dst.w[1] && own[2] == p->dst.w[2] && own[3] == p->dst.w[3];
}

/*
 * Has a process of the node a socket that would be given the answers to what is sent so? Connected, or bound to the port, at this
 * address or at all.
 */
__noinline int socket_gets_answers(ctx_t *ctx, const struct tuple *sent)
{
	struct scratch *work = scratch();
	struct bpf_sock_tuple *t;
	__u32 size = sizeof(t->ipv6);
	__be32 own[4] = {};

	if (!work || !sent)
		return false;
	t = &work->socket;
	if (addr_is_v4(&sent->dst)) {
		size = sizeof(t->ipv4);
		t->ipv4.saddr = sent->dst.w[3];
		t->ipv4.daddr = sent->src.w[3];
		t->ipv4.sport = sent->dport;
		t->ipv4.dport = sent->sport;
	} else {
		memcpy(t->ipv6.saddr, &sent->dst, sizeof(sent->dst));
		memcpy(t->ipv6.daddr, &sent->src, sizeof(sent->src));
		t->ipv6.sport = sent->dport;
		t->ipv6.dport = sent->sport;
	}
	return socket_at(ctx, sent->protocol, t, size, own);
}

/* The service for what a pod or the node sends; NULL: there is none, or a process of the node answers in its place. */
static __always_inline struct service *service_for(ctx_t *ctx, const struct packet *p)
{
	struct service *s = service_find(&p->dst, p->dport, p->protocol, SCOPE_INTERNAL);

	return s && s->flags & SERVICE_HELD && listener_is_at(ctx, p) ? NULL : s;
}

#endif
