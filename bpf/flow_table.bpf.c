// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What Python writes to the table of flows and takes from it, by BPF_PROG_TEST_RUN: a program that has begun ends, also when its caller is
 * killed, and leaves no bucket locked. A packet is entries end to end, each a key and what is under it. What is returned is
 * how many were done, and in the upper half how many of these changed the table.
 */
#include "dp/conntrack/flow_settle.h"
#include "dp/packet/ctx.h"

enum {
	ENTRY = sizeof(struct flow_key) + sizeof(struct flow),
	FLOWS_AT_ONCE = 30, /* in one packet, which is a page with what the kernel has in it besides */
};
EXPORT_NUMBER(FLOWS_AT_ONCE);

enum what { PUT, ADD, DROP, SETTLE };

/* 1: it changed the table, 0: nothing was to be done; or FLOWS_FULL. */
static __always_inline int change(struct scratch *work, enum what what)
{
	int error;

	if (what == DROP)
		return flow_delete(&work->key);
	if (what == SETTLE)
		return flow_settle();
	error = flow_insert(&work->key, &work->flow, what == ADD ? BPF_NOEXIST : BPF_ANY);
	return error == FLOW_EXISTS ? 0 : error ? error : 1;
}

static __always_inline int change_all(ctx_t *ctx, enum what what)
{
	struct scratch *work = scratch();
	__u32 entries = ctx_length(ctx) / ENTRY, done = 0, changed = 0;

	for (int i = 0; i < FLOWS_AT_ONCE && work && done < entries; i++) {
		__u32 at = done * ENTRY;
		int code;

		if (!ctx_load(ctx, at, &work->key, sizeof(work->key)) ||
		    !ctx_load(ctx, at + sizeof(work->key), &work->flow, sizeof(work->flow)))
			break;
		code = change(work, what);
		if (code < 0)
			break;
		changed += code;
		done++;
	}
	return changed << 16 | done;
}

/* Stores the entries, each also over one that is there. */
SEC("tc") int flows_put(ctx_t *ctx)
{
	return change_all(ctx, PUT);
}

/* Stores those whose key has none. */
SEC("tc") int flows_add(ctx_t *ctx)
{
	return change_all(ctx, ADD);
}

/* Settles those of another generation's table with what is in this one. */
SEC("tc") int flows_settle(ctx_t *ctx)
{
	return change_all(ctx, SETTLE);
}

/* Takes those under the keys away. */
SEC("tc") int flows_drop(ctx_t *ctx)
{
	return change_all(ctx, DROP);
}

char _license[] SEC("license") = "Dual BSD/GPL";
