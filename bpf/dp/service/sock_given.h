/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a socket was given for a service: kept, found again, and counted, under the cookie of the socket that a process has. */
#ifndef SLUICEWAY_SOCK_GIVEN_H
#define SLUICEWAY_SOCK_GIVEN_H

#include "dp/service/sock_client.h"
#include "dp/service/sock_peer.h"

enum {
	STREAM = 1,   /* SOCK_STREAM */
	DATAGRAM = 2, /* SOCK_DGRAM */
	MPTCP = 262,  /* IPPROTO_MPTCP */
};

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

/*
 * Keeps what the socket was given, and counts it where connections are counted and the service's address was not left. False: there
 * is no room.
 */
static __noinline bool sock_peer_note(const struct sock_peer_key *key, const struct peer *asked,
				      const struct service *s, const struct peer *given, __u16 slot)
{
	bool left = given->port == asked->port && addr_equal(&given->addr, &asked->addr);
	__u64 number = load_socket_number(key->cookie, key->place);

	load_socket_ends(number); /* where the socket asked another before */
	if (!sock_peer_keep(key, asked, s, given, slot))
		return false;
	if (!left && s->scheduler == SCHEDULER_LC)
		load_socket_begins(number, s->set_id, slot);
	return true;
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

#endif
