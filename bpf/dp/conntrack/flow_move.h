/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * While links move to another generation's maps, flows are carried there: for a moment one program may know a connection that another
 * does not yet. What goes on with a connection then must begin none in its place, with another backend or port, for that would stay.
 */
#ifndef SLUICEWAY_FLOW_MOVE_H
#define SLUICEWAY_FLOW_MOVE_H

#include "dp/abi/flow.h"
#include "dp/conntrack/flow.h"

/* One record, under key 0; the agent writes it when it moves links. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_move);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_moves SEC(".maps") PROGRAMS_WRITE;

/* Are flows on their way, and is the packet one that is sent again when it is dropped, as connections do by themselves? */
__noinline int flow_waits(const struct packet *p)
{
	const struct flow_move *m;
	__u32 zero = 0;

	if (!p || !has_connections(p->protocol))
		return false;
	m = bpf_map_lookup_elem(&flow_moves, &zero);
	return m && m->until_s && (__s32)(m->until_s - tick_s()) >= 0;
}

/* May a packet without a flow be one of a connection that is on its way here? One that begins is none. */
static __always_inline bool flow_may_come(const struct packet *p)
{
	return !(p->flags & PACKET_SYN) && flow_waits(p);
}

#endif
