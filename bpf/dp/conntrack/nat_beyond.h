/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Translated flows that only pass through this node: from who is outside to a backend that the kernel's routes lead to. Their
 * packets are nobody's here, so XDP may send them on.
 */
#ifndef SLUICEWAY_NAT_BEYOND_H
#define SLUICEWAY_NAT_BEYOND_H

#include "dp/conntrack/nat.h"

/* Is an end at no pod here, not this node, no service's address and behind no tunnel? */
static __always_inline bool is_beyond(const struct peer_location *end)
{
	return !end->slot && !end->remote_id;
}

/* Is the packet one that its flow translates, from beyond to beyond? */
static __always_inline bool passes_through(const struct scratch *work, const struct flow *f)
{
	return f->flags & FLOW_EXTERNAL && !(f->flags & FLOW_BY_STACK) && flow_translates(f, work->ct.src_hi) &&
	       is_beyond(&f->ends[0]) && is_beyond(&f->ends[1]);
}

/*
 * Begins the flow of who is outside to a service, as ct_begin(), where it passes through; work->sender is found. False: it does
 * not, or cannot begin. Then nothing was stored, and tc chooses again.
 */
__noinline int nat_begin_beyond(ctx_t *ctx, const struct service *s)
{
	struct scratch *work = scratch();
	struct nat_pair *pair;

	if (!s || !work)
		return false;
	pair = &work->pair;
	if (!source_is_served(s, &work->packet.src))
		return false;
	if (nat_choose(ctx, work, s, true) || addr_equal(&pair->mapping.src, &work->packet.src))
		return false;
	location_of(&pair->mapping.dst, &pair->backend);
	if (!is_beyond(&pair->backend) || nat_store(ctx))
		return false;
	nat_count(work, s);
	return true;
}

#endif
