/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's routes: asked, and taken. */
#ifndef SLUICEWAY_FIB_H
#define SLUICEWAY_FIB_H

#include "dp/abi/drop.h"
#include "dp/packet/addr.h"
#include "dp/packet/ctx.h"
#include "dp/packet/scratch.h"

static __always_inline void fib_addresses(struct bpf_fib_lookup *f, const ip_addr *src, const ip_addr *dst)
{
	if (addr_is_v4(dst)) {
		f->family = 2; /* AF_INET */
		f->ipv4_src = src->w[3];
		f->ipv4_dst = dst->w[3];
	} else {
		f->family = 10; /* AF_INET6 */
		memcpy(f->ipv6_src, src, sizeof(*src));
		memcpy(f->ipv6_dst, dst, sizeof(*dst));
	}
}

/* The next hop that was answered. */
static __always_inline void fib_via(const struct bpf_fib_lookup *f, struct bpf_redir_neigh *via)
{
	via->nh_family = f->family;
	memcpy(via->ipv6_nh, f->ipv6_dst, sizeof(via->ipv6_nh)); /* IPv4's is the first word of either */
}

/*
 * How the kernel would send a packet on that came in here. A GSO packet is not too large: its segments came in as they
 * are. Returns BPF_FIB_LKUP_RET_*.
 */
static __always_inline long fib_ask(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol,
				    struct bpf_fib_lookup *f)
{
	memset(f, 0, sizeof(*f));
	f->ifindex = ctx_ifindex(ctx);
	f->l4_protocol = protocol;
	if (!ctx_gso_size(ctx))
		f->tot_len = ctx_length(ctx) - ETH_HLEN;
	fib_addresses(f, src, dst);
	return ctx_fib_lookup(ctx, f, 0);
}

/* Which device the kernel would send a packet by that came in here; 0: by none. */
static __always_inline __u32 fib_device(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol)
{
	struct bpf_fib_lookup f;
	long code = fib_ask(ctx, src, dst, protocol, &f);

	return code == BPF_FIB_LKUP_RET_SUCCESS || code == BPF_FIB_LKUP_RET_NO_NEIGH ? f.ifindex : 0;
}

/*
 * By which source a packet's way is asked for. One whose own source was translated goes where it would have gone under
 * that, as the kernel's masquerading has it: the address that it has now is the way's.
 */
static __always_inline const ip_addr *way_source(const struct scratch *work, const struct packet *p)
{
	return work->forward.is_translated ? &work->way_src : &p->src;
}

/*
 * May the packet's next hop be another than that of its own source's route? Then it is named. Else the kernel is to find it, and
 * with it the packet's new route: one that waits for an unknown neighbour is sent by the route that it has, in the end, and
 * the stack has given the node's own one for where it was to go before it was translated.
 */
static __always_inline bool is_way_another(const struct scratch *work)
{
	return work->forward.is_translated && work->forward.hop == HOP_OUT &&
	       !addr_equal(&work->way_src, &work->packet.src);
}

/* Sends it out, by the route for a source and destination; the kernel finds the neighbour. Sets *verdict. */
__noinline int route_out(ctx_t *ctx, const ip_addr *src, const ip_addr *dst, __u8 protocol, int *verdict)
{
	struct scratch *work = scratch();
	struct bpf_redir_neigh via = {};
	struct bpf_fib_lookup *f;
	long code;

	if (!src || !dst || !verdict || !work)
		return DROP_NO_ROUTE;
	f = &work->route;
	code = fib_ask(ctx, src, dst, protocol, f);
	if (code == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		work->forward.mtu = f->mtu_result;
		return DROP_TOO_BIG;
	}
	if (code != BPF_FIB_LKUP_RET_SUCCESS && code != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_ROUTE;
	if (!is_way_another(work)) {
		*verdict = bpf_redirect_neigh(f->ifindex, NULL, 0, 0);
		return DROP_NONE;
	}
	fib_via(f, &via);
	*verdict = bpf_redirect_neigh(f->ifindex, &via, sizeof(via), 0);
	return DROP_NONE;
}

#endif
