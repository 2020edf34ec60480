/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A flow of another generation's table into this one, more than once while links move from the programs of the one to those of the other
 * (agent/kernel/programs/generation.py). Since it was first copied both tables have gone on: the old programs may have ended it and
 * begun another under its key, or the new ones may.
 *
 * What comes is in the scratch: its key, and the flow under it. An entry that was copied is FLOW_CARRIED, one that this table's programs
 * began is not.
 */
#ifndef SLUICEWAY_FLOW_SETTLE_H
#define SLUICEWAY_FLOW_SETTLE_H

#include "dp/conntrack/epoch.h"
#include "dp/conntrack/flow_entry.h"
#include "dp/conntrack/flow_insert.h"

/* Does this table's flow go on, where another comes under its key? It began here, and was not seen earlier. */
static __always_inline bool settle_stays(const struct flow *here, const struct flow *comes)
{
	return !(here->flags & FLOW_CARRIED) && (__s32)(here->seen_s - comes->seen_s) >= 0;
}

/* Are what is under work->other, read into work->found, and the entry under work->key halves of one pair? */
static __always_inline bool settle_is_pair(struct scratch *work)
{
	if (!flow_has_pair(work->found.flags))
		return false;
	flow_pair_key_of(&work->found, &work->key, &work->half);
	return flow_key_is(&work->half, &work->key);
}

/* The copy of the same flow, in work->found, learns what the old programs have noted since. Returns whether that changed it. */
static __always_inline int settle_same(const struct scratch *work, struct flow *entry)
{
	const struct flow *comes = &work->flow;

	if ((__s32)(comes->seen_s - work->found.seen_s) > 0)
		entry->seen_s = comes->seen_s;
	return flow_note(entry, comes->serial, 0, comes->flags & (FLOW_REPLIED | FLOW_ASSURED | FLOW_ENDS));
}

/* Ends the flow under work->key, in work->found, and its other half. False: somebody else does so at this moment. */
__noinline int settle_end(void)
{
	struct scratch *work = scratch();
	struct flow *entry;

	if (!work)
		return false;
	entry = flow_find(&work->key);
	if (!entry || !flow_note(entry, work->found.serial, 0, FLOW_ENDED))
		return false;
	if (flow_has_pair(work->found.flags)) {
		flow_pair_key_of(&work->found, &work->key, &work->other);
		entry = flow_find(&work->other);
		if (entry && flow_read(entry, &work->other, &work->found) && settle_is_pair(work))
			flow_delete(&work->other);
	}
	flow_delete(&work->key);
	cache_void();
	return true;
}

/* Has what comes another half, in whose place is a flow that stays? Then it is left out, for it would have but one. */
__noinline int settle_is_half(void)
{
	struct scratch *work = scratch();
	struct flow *entry;

	if (!work || !flow_has_pair(work->flow.flags))
		return false;
	flow_pair_key_of(&work->flow, &work->key, &work->other);
	entry = flow_find(&work->other);
	if (!entry || !flow_read(entry, &work->other, &work->found))
		return false;
	return settle_stays(&work->found, &work->flow) && !settle_is_pair(work);
}

/* Settles what comes with what is here. Returns whether that changed the table, or FLOWS_FULL. */
__noinline int flow_settle(void)
{
	struct scratch *work = scratch();
	struct flow *entry;
	int error;

	if (!work)
		return FLOWS_FULL;
	entry = flow_find(&work->key);
	if (entry && flow_read(entry, &work->key, &work->found)) {
		if (work->found.serial == work->flow.serial)
			return settle_same(work, entry);
		if (settle_stays(&work->found, &work->flow) || !settle_end())
			return false;
	}
	if (settle_is_half())
		return false;
	work->flow.flags |= FLOW_CARRIED;
	error = flow_insert(&work->key, &work->flow, BPF_NOEXIST);
	return error == FLOW_EXISTS ? false : error ? error : true;
}

#endif
