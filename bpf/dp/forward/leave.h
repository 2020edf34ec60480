/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Out by the kernel's route, past its stack; a flow whose way has moved to where its source is wrong ends there. */
#ifndef SLUICEWAY_LEAVE_H
#define SLUICEWAY_LEAVE_H

#include "dp/conntrack/snat.h"

/*
 * Does the way by which the packet leaves now give it another source than its flow has? Asked where the device is
 * another one: an address that both ways have may stay.
 */
static __noinline bool has_way_moved(ctx_t *ctx, struct scratch *work)
{
	struct nat_pair *pair = &work->pair;

	pair->mapping.dst = work->packet.dst;
	return !snat_choose(ctx, &work->way_src) && !addr_equal(&pair->mapping.src, &work->packet.src);
}

/*
 * Sends the packet out. The kernel's masquerading drops the one that finds its way moved, too, and has the next begin: nobody
 * out there knows the flow under another address.
 */
static __always_inline enum drop_reason leave(ctx_t *ctx, const struct packet *p, const struct forward *to,
					      int *verdict)
{
	struct scratch *work = scratch();
	enum drop_reason why;

	if (!work)
		return DROP_NO_ROUTE;
	why = route_out(ctx, way_source(work, p), &p->dst, p->protocol, verdict);
	if (why || !to->way || to->way == (__u16)work->route.ifindex || !has_way_moved(ctx, work))
		return why;
	ct_end(work);
	return DROP_NAT_WAY;
}

#endif
