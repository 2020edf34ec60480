/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Places for later fragments that came before their datagram's first; fragment_turn.h fills and empties them. */
#ifndef SLUICEWAY_WAITING_H
#define SLUICEWAY_WAITING_H

#include "drop.h"
#include "fragment.h"

EXPORT_ENUM(waiting_state);
EXPORT_NUMBER(WAITING_PLACES);
EXPORT_NUMBER(WAITING_GROUPS);
EXPORT_NUMBER(WAITING_OCTETS);

_Static_assert((WAITING_PLACES & (WAITING_PLACES - 1)) == 0, "an index is cut to it");
_Static_assert(WAITING_GROUPS == 16, "four bits of a hash");

/* Its octets, under the same index. */
struct waiting_frame {
	__u8 octets[WAITING_OCTETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAITING_GROUPS *WAITING_PLACES);
	__type(key, __u32);
	__type(value, struct waiting);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} waitings SEC(".maps") PROGRAMS_WRITE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAITING_GROUPS *WAITING_PLACES);
	__type(key, __u32);
	__type(value, struct waiting_frame);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} waiting_frames SEC(".maps") PRIVATE;

/* The n-th place of a source's group: who fills its group takes places from few others. */
static __always_inline __u32 waiting_index(const ip_addr *src, __u32 n)
{
	__u64 h = addr_half(src, 0) * 0x9e3779b97f4a7c15 ^ addr_half(src, 2);

	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15;
	return (h >> 60) * WAITING_PLACES + (n & (WAITING_PLACES - 1));
}

static __always_inline bool waiting_turns(struct waiting *w, __u32 from, __u32 to)
{
	return __sync_val_compare_and_swap(&w->state, from, to) == from;
}

/* Nobody fetches it any more: it is lost now, and counted where it came in. */
static __always_inline void waiting_lost(const struct waiting *w)
{
	count(w->program == PROGRAM_UPLINK ? PROGRAM_UPLINK : PROGRAM_POD, DIRECTION_INGRESS, DROP_FRAGMENT_ALONE,
	      w->length);
}

/* Makes one place ours: one that is free, or whose fragment has waited too long, or any when all are taken. */
static __always_inline struct waiting *waiting_take(const ip_addr *src, __u32 *index)
{
	__u32 first = bpf_get_prandom_u32();

	/* once round for a free one, then for one that can be taken from another datagram */
	for (__u32 i = 0; i < 2 * WAITING_PLACES; i++) {
		struct waiting *w;

		*index = waiting_index(src, first + i);
		w = bpf_map_lookup_elem(&waitings, index);
		if (!w)
			return NULL;
		if (waiting_turns(w, WAITING_FREE, WAITING_BUSY))
			return w;
		if ((i >= WAITING_PLACES || !fragment_is_fresh(tick_s(), w->seen_s)) &&
		    waiting_turns(w, WAITING_READY, WAITING_BUSY)) {
			waiting_lost(w);
			return w;
		}
	}
	return NULL;
}

/* One place, once in a while: who has waited too long gives it back. */
static long waiting_sweep_one(void *map, __u32 *index, struct waiting *w, __u32 *now_s)
{
	(void)map;
	(void)index;
	if (!fragment_is_fresh(*now_s, w->seen_s) && waiting_turns(w, WAITING_READY, WAITING_BUSY)) {
		waiting_lost(w);
		waiting_turns(w, WAITING_BUSY, WAITING_FREE);
	}
	return 0;
}

static __always_inline void waiting_sweep(__u32 now_s)
{
	bpf_for_each_map_elem(&waitings, waiting_sweep_one, &now_s, 0);
}

#endif
