/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Routes by the tunnel's device whose next hop is another node: those that BGP told, of ranges that are no Node's. The kernel's route
 * alone knows which node it is, so that it is asked for each packet that the stack sends by that device.
 */
#ifndef SLUICEWAY_ROUTE_REMOTE_H
#define SLUICEWAY_ROUTE_REMOTE_H

#include "dp/forward/fib_forward.h"

/* Asks for the packet's way, whatever its size. */
static __always_inline bool fib_way(ctx_t *ctx, struct scratch *work, __u32 flags)
{
	struct bpf_fib_lookup *f = &work->route;
	long code;

	memset(f, 0, sizeof(*f));
	if (!fib_question(ctx, &work->packet, 1, f))
		return false;
	code = ctx_fib_lookup(ctx, f, flags);
	return code == BPF_FIB_LKUP_RET_SUCCESS || code == BPF_FIB_LKUP_RET_NO_NEIGH;
}

/*
 * The other node by whose tunnel the packet's route leads; 0: none is known. The stack
 * has chosen the tunnel's device. Where the route has other ways too, it may have chosen by less than the packet now has, as
 * for a socket without an address: then by a way of this device.
 */
static __noinline __u32 route_remote(ctx_t *ctx, struct scratch *work)
{
	struct bpf_fib_lookup *f = &work->route;
	const struct node *n = node_now();
	struct bpf_redir_neigh via = {};
	const struct prefix *hop;
	ip_addr next;

	if (!n)
		return 0;
	if (!(fib_way(ctx, work, 0) && f->ifindex == n->tunnel_ifindex) && !fib_way(ctx, work, BPF_FIB_LOOKUP_OUTPUT))
		return 0;
	fib_via(f, &via);
	if (via.nh_family == 2) /* AF_INET */
		next = addr_v4(via.ipv4_nh);
	else
		memcpy(&next, via.ipv6_nh, sizeof(next));
	hop = prefix_find(&next);
	return hop && hop->flags & PREFIX_NODE ? hop->remote_id : 0;
}

#endif
