/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Under which of this node's addresses a translated flow leaves: the one that its route gives, as the node's own packets
 * would have; asked with a flow's first packet alone (docs/decisions/0032-snat.md).
 */
#ifndef SLUICEWAY_SNAT_H
#define SLUICEWAY_SNAT_H

#include "dp/conntrack/conntrack.h"
#include "dp/endpoint/fib.h"
#include "dp/endpoint/uplink.h"

enum { FIB_EINVAL = -22 };

const volatile __u32 routes_name_source
	DOC("routes are asked for their source; 0: as on a kernel that cannot say (before Linux 6.7), a device's is taken") =
		1;

/* Asks for the way of a source to the mapping's destination. Returns BPF_FIB_LKUP_RET_*, or an error. */
static __always_inline long snat_ask(ctx_t *ctx, struct scratch *work, const ip_addr *src, __u32 flags)
{
	struct bpf_fib_lookup *f = &work->route;

	memset(f, 0, sizeof(*f));
	f->ifindex = ctx_ifindex(ctx);
	f->l4_protocol = work->packet.protocol;
	f->tot_len = 1; /* whatever the packet's size is */
	fib_addresses(f, src, &work->pair.mapping.dst);
	return ctx_fib_lookup(ctx, f, flags);
}

/* What the route named, or where it cannot, what its device has. Zeros: neither. */
static __always_inline ip_addr snat_answer(const struct scratch *work, const struct uplink *by, bool is_named)
{
	const struct bpf_fib_lookup *f = &work->route;

	if (work->packet.flags & PACKET_V4)
		return is_named ? addr_v4(f->ipv4_src) : by->addr4;
	return is_named ? addr_v6(f->ipv6_src) : by->addr6;
}

/*
 * Has the mapping's source be the one of the way. It stays the node's where there is no way, or one by a device on which no
 * program would see the answers.
 */
static __always_inline void snat_from_route(ctx_t *ctx, struct scratch *work, const ip_addr *src)
{
	bool is_named = routes_name_source;
	struct uplink *by;
	ip_addr found;
	__u32 device;
	long code;

	code = snat_ask(ctx, work, src, is_named ? BPF_FIB_LOOKUP_SRC : 0);
	if (code == FIB_EINVAL || code == BPF_FIB_LKUP_RET_NO_SRC_ADDR) {
		is_named = false;
		code = snat_ask(ctx, work, src, 0);
	}
	if (code != BPF_FIB_LKUP_RET_SUCCESS && code != BPF_FIB_LKUP_RET_NO_NEIGH)
		return;
	device = work->route.ifindex;
	work->pair.way = device;
	by = uplink_find(device);
	if (!by)
		return;
	found = snat_answer(work, by, is_named);
	if (!addr_is_unspecified(&found) && !addr_is_link_local_v6(&found))
		work->pair.mapping.src = found;
}

/*
 * Chooses the source of the mapping whose destination is chosen, for packets from src. Another node takes from its tunnel what this one is known
 * under, and whoever is on this node is reached by no route.
 */
__noinline int snat_by_way(ctx_t *ctx, const ip_addr *src)
{
	const struct node *n = node_now();
	struct scratch *work = scratch();
	struct nat_pair *pair;

	if (!src || !n || !work)
		return DROP_NAT_ADDRESS;
	pair = &work->pair;
	pair->mapping.src = work->packet.flags & PACKET_V4 ? n->addr4 : n->addr6;
	pair->way = 0;
	location_of(&pair->mapping.dst, &pair->backend);
	if (!is_located_here(&pair->backend) && !remote_is_tunnel(pair->backend.remote_id))
		snat_from_route(ctx, work, src);
	return addr_is_zero(&pair->mapping.src) ? DROP_NAT_ADDRESS : DROP_NONE;
}

/* As snat_by_way(). A pod that asks itself through a VF has no other source. */
static __always_inline enum drop_reason snat_choose(ctx_t *ctx, const ip_addr *src)
{
	return IS_AT_VF ? DROP_NAT_ADDRESS : snat_by_way(ctx, src);
}

/* What is to be known of a packet's way, when it is translated by its flow. An answer goes by the way of who was asked. */
static __always_inline void snat_translate(struct scratch *work, const struct flow *f)
{
	const struct packet *p = &work->packet;

	work->way_src = f->to_src;
	if (!(f->flags & FLOW_FORWARD) || addr_equal(&p->src, &f->to_src))
		return;
	work->forward.way = f->way;
	if (!addr_is_loopback(&p->src)) /* from there nothing is routed */
		work->way_src = p->src;
}

#endif
