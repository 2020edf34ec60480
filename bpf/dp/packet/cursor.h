/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A cursor reads headers from the linear part of a packet, front to back. */
#ifndef SLUICEWAY_CURSOR_H
#define SLUICEWAY_CURSOR_H

#include "dp/packet/ctx.h"

struct cursor {
	void *pos;
	void *end;
};

static __always_inline struct cursor cursor_at(const ctx_t *ctx, __u32 offset)
{
	return (struct cursor){.pos = ctx_data(ctx) + offset, .end = ctx_end(ctx)};
}

/* The next len octets, now behind the cursor; NULL when the packet ends before. */
static __always_inline void *take(struct cursor *c, __u64 len)
{
	void *at = c->pos;

	if (at + len > c->end)
		return NULL;
	c->pos = at + len;
	return at;
}

#define take_header(c, type) ((type *)take((c), sizeof(type)))

#endif
