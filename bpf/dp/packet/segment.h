/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* GSO packets: what the kernel or a device will cut into segments, each with headers of its own. */
#ifndef SLUICEWAY_SEGMENT_H
#define SLUICEWAY_SEGMENT_H

#include <linux/udp.h>

#include "dp/packet/ctx.h"
#include "dp/packet/packet.h"

enum { TCP_DOFF = 12 /* the octet with the header's length */ };

/*
 * Octets before the data of each of a GSO packet's segments, from Ethernet's on; 0: it is none, cannot be read, or is one whose segments
 * are of no one size (SCTP's).
 */
static __always_inline __u32 segment_headers(const ctx_t *ctx, const struct packet *p)
{
	__u8 doff;

	if (!ctx_gso_size(ctx) || !p->l4)
		return 0;
	if (p->protocol == IPPROTO_SCTP)
		return 0;
	if (p->protocol != IPPROTO_TCP)
		return p->l4 + sizeof(struct udphdr);
	if (!ctx_load(ctx, p->l4 + TCP_DOFF, &doff, sizeof(doff)))
		return 0;
	return p->l4 + (doff >> 4) * 4;
}

#endif
