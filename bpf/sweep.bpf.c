// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The sweep of the flows: begun once by the agent, carried on by a timer of the kernel. */
#include "dp/sweep.h"

enum { MONOTONIC = 1 /* CLOCK_MONOTONIC */ };

/* Arms the timer; again is harmless, and gives a timer that runs the newest program. */
SEC("syscall") int sweep_start(void *ctx)
{
	__u32 zero = 0;
	struct sweeper *s = bpf_map_lookup_elem(&sweeper, &zero);

	(void)ctx;
	if (!s)
		return -1;
	bpf_timer_init(&s->timer, &sweeper, MONOTONIC);
	if (bpf_timer_set_callback(&s->timer, sweep_timer))
		return -1;
	return bpf_timer_start(&s->timer, SECOND_NS, 0);
}

/* Sweeps at once. */
SEC("syscall") int sweep_now(void *ctx)
{
	(void)ctx;
	return sweep_all();
}

char _license[] SEC("license") = "Dual BSD/GPL";
