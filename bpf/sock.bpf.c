// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The node's root cgroup: every socket of the node and its pods, before there is a packet. */
#include "dp/service/sock.h"

/* What a hook returns: the system call goes on, with the address as it is now. */
enum { PROCEED = 1 };

/* Refuses the system call; without the helper's error it would be EPERM. */
static __always_inline int refuse(int error)
{
	bpf_set_retval(error);
	return 0;
}

static __always_inline int ask4(struct bpf_sock_addr *ctx, bool connects)
{
	struct peer peer = peer_read4(ctx);
	int error = to_backend(ctx, &peer, connects);

	if (error)
		return refuse(error);
	peer_write4(ctx, &peer);
	return PROCEED;
}

static __always_inline int ask6(struct bpf_sock_addr *ctx, bool connects)
{
	struct peer peer = peer_read6(ctx);
	int error = to_backend(ctx, &peer, connects);

	if (error)
		return refuse(error);
	peer_write6(ctx, &peer);
	return PROCEED;
}

static __always_inline int answer4(struct bpf_sock_addr *ctx)
{
	struct peer peer = peer_read4(ctx);

	to_service(ctx, &peer);
	peer_write4(ctx, &peer);
	return PROCEED;
}

static __always_inline int answer6(struct bpf_sock_addr *ctx)
{
	struct peer peer = peer_read6(ctx);

	to_service(ctx, &peer);
	peer_write6(ctx, &peer);
	return PROCEED;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx)
{
	return ask4(ctx, true);
}

SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx)
{
	return ask6(ctx, true);
}

SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx)
{
	return ask4(ctx, false);
}

SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx)
{
	return ask6(ctx, false);
}

SEC("cgroup/recvmsg4") int recvmsg4(struct bpf_sock_addr *ctx)
{
	return answer4(ctx);
}

SEC("cgroup/recvmsg6") int recvmsg6(struct bpf_sock_addr *ctx)
{
	return answer6(ctx);
}

SEC("cgroup/getpeername4") int getpeername4(struct bpf_sock_addr *ctx)
{
	return answer4(ctx);
}

SEC("cgroup/getpeername6") int getpeername6(struct bpf_sock_addr *ctx)
{
	return answer6(ctx);
}

SEC("cgroup/sock_create") int sock_create(struct bpf_sock *sk)
{
	if (sk->protocol == MPTCP)
		bpf_get_socket_cookie(sk); /* has one from now on, see cookie_of() */
	return PROCEED;
}

SEC("cgroup/sock_release") int sock_release(struct bpf_sock *sk)
{
	sock_peers_end(bpf_get_socket_cookie(sk));
	return PROCEED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
