/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every packet that a program processes is counted once, by program, direction and reason. */
#ifndef SLUICEWAY_DROP_H
#define SLUICEWAY_DROP_H

#include "dp/config.h"
#include "dp/packet/ctx.h"
#include "dp/packet/hop.h"

EXPORT_ENUM(drop_reason);
EXPORT_ENUM(program);
EXPORT_ENUM(direction);
EXPORT_NUMBER(COUNTER_REASONS);

_Static_assert(DROP_REASONS <= COUNTER_REASONS, "a reason is an index among the counters");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counters SEC(".maps") PROGRAMS_WRITE;

static __always_inline void count(enum hook hook, enum drop_reason why, __u32 octets)
{
	__u32 index = hook * COUNTER_REASONS + why;
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (!c)
		return;
	c->packets++;
	c->octets += octets;
}

#endif
