/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What comes in from outside by a device of the node: who may not have sent it, and its flow. The same at tc and at XDP. */
#ifndef SLUICEWAY_OUTSIDE_H
#define SLUICEWAY_OUTSIDE_H

#include "dp/conntrack/nat.h"
#include "dp/forward/service_source.h"

/*
 * Is the source of what comes in from outside an address of this node, of a pod of it, or behind such a pod? A flow that is
 * current knows; without one work->sender is found.
 */
static __noinline bool is_own_source(struct scratch *work, const struct flow *f)
{
	const struct packet *p = &work->packet;

	if (addr_is_loopback(&p->src))
		return true;
	if (f && work->ct.is_current)
		return is_located_here(flow_source(f, work->ct.src_hi));
	location_of(&p->src, &work->sender);
	return is_located_here(&work->sender);
}

/*
 * Brings the flow of what comes in, as it was found (NULL: none is known), up to date, once its sender is known to be none that
 * nobody outside can be. Sets *why it cannot go on.
 */
static __noinline struct flow *update_from_outside(struct scratch *work, struct flow *f, enum drop_reason *why)
{
	if (f && is_own_source(work, f)) {
		*why = DROP_OWN_SOURCE;
		return f;
	}
	if (is_service_source(work, f)) {
		*why = DROP_SERVICE_SOURCE;
		return f;
	}
	return ct_update(work, f);
}

#endif
