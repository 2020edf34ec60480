/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whether what comes in by a wire says that it comes from a service. */
#ifndef SLUICEWAY_SERVICE_SOURCE_H
#define SLUICEWAY_SERVICE_SOURCE_H

#include "dp/conntrack/conntrack.h"
#include "dp/service/service.h"

/* Is a packet of the flow sent by the end that the service is to the other? Only programs of ours speak for that one. */
static __always_inline bool is_from_service_end(const struct scratch *work, const struct flow *f)
{
	return f->flags & FLOW_FORWARD && !from_origin(f, work->ct.src_hi);
}

/*
 * Does it come from outside as from a service? Nobody there has an address that is of the cluster alone; one that leads in from
 * outside may be a load balancer's own, who says other things under it, but nothing from the service's port. Sets work->sender.
 */
static __noinline bool is_service_source(struct scratch *work, const struct flow *f)
{
	const struct packet *p = &work->packet;

	if (f && work->ct.is_current && !is_from_service_end(work, f))
		work->sender = *flow_source(f, work->ct.src_hi);
	else
		location_of(&p->src, &work->sender);
	if (work->forward.is_own_answer || !is_service_address(&work->sender))
		return false;
	return work->sender.remote_id == REMOTE_CLUSTER_IP ||
	       service_at(&p->src, p->sport, p->protocol, SCOPE_EXTERNAL);
}

#endif
