/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Outer addresses of packets at the device that puts headers on and takes them off. */
#ifndef SLUICEWAY_TUNNEL_KEY_H
#define SLUICEWAY_TUNNEL_KEY_H

#include "dp/tunnel/sender.h"

/* Has the packet got outer addresses for the tunnel's device? */
static __noinline bool has_tunnel_key(ctx_t *ctx)
{
	struct bpf_tunnel_key key = {};

	return ctx_tunnel_key(ctx, &key, 0) || ctx_tunnel_key(ctx, &key, BPF_F_TUNINFO_IPV6);
}

/* check_inner() for what the device has taken the outer header off. */
static __noinline enum drop_reason check_tunnelled(ctx_t *ctx)
{
	struct bpf_tunnel_key key = {};
	ip_addr from = {};

	if (ctx_tunnel_key(ctx, &key, 0))
		from = addr_v4(bpf_htonl(key.remote_ipv4));
	else if (ctx_tunnel_key(ctx, &key, BPF_F_TUNINFO_IPV6))
		memcpy(&from, key.remote_ipv6, sizeof(from));
	return check_inner(&from);
}

#endif
