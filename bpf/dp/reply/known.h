/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets of flows that are known, and errors about them: translated, and nothing is begun for what is not known. */
#ifndef SLUICEWAY_KNOWN_H
#define SLUICEWAY_KNOWN_H

#include "dp/conntrack/nat.h"
#include "dp/fragment/fragment.h"
#include "dp/reply/icmp.h"

/* Sets *f to the packet's flow; NULL: none is known. */
static __always_inline enum drop_reason translate_known(ctx_t *ctx, struct scratch *work, struct flow **f)
{
	struct packet *p = &work->packet;

	*f = NULL;
	if (p->flags & PACKET_ICMP_ERROR)
		return icmp_translate(ctx, work);
	fragment_follow(p);
	if (!(p->flags & PACKET_PORTS))
		return DROP_NONE;
	*f = ct_update(work, ct_find(work));
	if (*f && work->ct.why)
		return work->ct.why;
	return *f ? ct_translate(ctx, work, *f) : DROP_NONE;
}

#endif
