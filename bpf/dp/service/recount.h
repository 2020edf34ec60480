/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Numbers that programs keep up and conntrack GC counts again in each of its runs: its count takes the place of the other, so nothing
 * that is lost stays lost.
 *
 * Nobody walks over them to exchange them: a number is turned to a new run by whoever meets it first. Two CPUs that meet in that
 * moment may miss one of their own, until the next run.
 */
#ifndef SLUICEWAY_RECOUNT_H
#define SLUICEWAY_RECOUNT_H

#include "dp/abi/load.h"
#include "dp/config.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct load_walk);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} load_walks SEC(".maps") PROGRAMS_WRITE;

static __always_inline struct load_walk *load_walk(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&load_walks, &zero);
}

/* What a load says in a run: what the run before has counted, where nobody has turned its numbers yet. */
static __always_inline __u32 load_open(const struct load *l, __u32 run)
{
	__u32 behind = run - *(const volatile __u32 *)&l->run;

	return !behind ? l->flows : behind == 1 ? l->met : 0;
}

/* Turns a load's numbers to the run. */
static __always_inline void load_turn(struct load *l, __u32 run)
{
	__u32 was = *(volatile __u32 *)&l->run, met;

	if (was == run || __sync_val_compare_and_swap(&l->run, was, run) != was)
		return;
	met = __sync_lock_test_and_set(&l->met, 0);
	l->flows = was + 1 == run ? met : 0;
}

#endif
