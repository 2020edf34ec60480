// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Conntrack GC: begun once by the agent, carried on by a timer of the kernel. */
#include "dp/conntrack/gc.h"

enum { MONOTONIC = 1 /* CLOCK_MONOTONIC */ };

/* Arms the timer; again is harmless, and gives a timer that runs the newest program. */
SEC("syscall") int gc_start(void *ctx)
{
	__u32 zero = 0;
	struct gc_timer *s = bpf_map_lookup_elem(&gc_timers, &zero);
	int error;

	(void)ctx;
	if (!s)
		return -1;
	bpf_timer_init(&s->timer, &gc_timers, MONOTONIC);
	error = bpf_timer_set_callback(&s->timer, gc_fires);
	if (error)
		return error;
	if (!s->began_ns)
		s->began_ns = bpf_ktime_get_ns();
	return bpf_timer_start(&s->timer, SECOND_NS, 0);
}

/* Goes on with a run to its end, at once: from its beginning, where the timer has not begun one. */
SEC("syscall") int gc_now(void *ctx)
{
	(void)ctx;
	gc_tick(true);
	return 0;
}

/* What the timer does each time. Returns when it would do the next, in microseconds. */
SEC("syscall") int gc_once(void *ctx)
{
	(void)ctx;
	return gc_tick(false) / 1000;
}

char _license[] SEC("license") = "Dual BSD/GPL";
