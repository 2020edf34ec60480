/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Places for later fragments that came before their datagram's first; reorder.h fills and empties them. */
#ifndef SLUICEWAY_QUEUE_H
#define SLUICEWAY_QUEUE_H

#include "dp/abi/fragment.h"
#include "dp/packet/drop.h"
#include "dp/fragment/fragment.h"

EXPORT_ENUM(slot_state);
EXPORT_NUMBER(SLOTS_PER_GROUP);
EXPORT_NUMBER(SLOT_GROUPS);
EXPORT_NUMBER(SLOT_OCTETS);

_Static_assert((SLOTS_PER_GROUP & (SLOTS_PER_GROUP - 1)) == 0, "an index is cut to it");
_Static_assert(SLOT_GROUPS == 16, "four bits of a hash");

/* Its octets, under the same index. */
struct fragment_frame {
	__u8 octets[SLOT_OCTETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_GROUPS *SLOTS_PER_GROUP);
	__type(key, __u32);
	__type(value, struct fragment_slot);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fragment_slots SEC(".maps") PROGRAMS_WRITE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_GROUPS *SLOTS_PER_GROUP);
	__type(key, __u32);
	__type(value, struct fragment_frame);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fragment_frames SEC(".maps") PRIVATE;

/* The first place of a source's group: who fills its group takes places from few others. */
static __always_inline __u32 slot_group(const ip_addr *src)
{
	__u64 h = addr_half(src, 0) * 0x9e3779b97f4a7c15 ^ addr_half(src, 2);

	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15;
	return (h >> 60) * SLOTS_PER_GROUP;
}

static __always_inline bool slot_change(struct fragment_slot *w, __u32 from, __u32 to)
{
	return __sync_val_compare_and_swap(&w->state, from, to) == from;
}

/* Nobody fetches it any more: it is lost now, and counted where it came in. */
static __always_inline void slot_lost(const struct fragment_slot *w)
{
	count(w->hook, DROP_FRAGMENT_ALONE, w->length);
}

/* Makes a place ours, if it is free, or its fragment has waited too long, or may be lost. A step of its own, verified once. */
__noinline int slot_try(__u32 index, bool may_lose)
{
	struct fragment_slot *w = bpf_map_lookup_elem(&fragment_slots, &index);

	if (!w)
		return false;
	if (slot_change(w, SLOT_FREE, SLOT_BUSY))
		return true;
	if ((!may_lose && fragment_is_fresh(tick_s(), w->seen_s)) || !slot_change(w, SLOT_READY, SLOT_BUSY))
		return false;
	slot_lost(w);
	return true;
}

/*
 * Makes one place of a source's group ours: one that is free, or whose fragment has waited too long, or any when all are taken. Returns
 * its index; negative: none is to be had.
 */
__noinline int slot_take(const ip_addr *src)
{
	__u32 first = bpf_get_prandom_u32(), group;

	if (!src)
		return -1;
	group = slot_group(src);
	/* once round for a free one, then for one that can be taken from another datagram */
	for (__u32 i = 0; i < 2 * SLOTS_PER_GROUP; i++) {
		__u32 index = group + ((first + i) & (SLOTS_PER_GROUP - 1));

		if (slot_try(index, i >= SLOTS_PER_GROUP))
			return index;
	}
	return -1;
}

/* One place, once in a while: who has waited too long gives it back. */
static long gc_slot(void *map, __u32 *index, struct fragment_slot *w, __u32 *now_s)
{
	(void)map;
	(void)index;
	if (!fragment_is_fresh(*now_s, w->seen_s) && slot_change(w, SLOT_READY, SLOT_BUSY)) {
		slot_lost(w);
		slot_change(w, SLOT_BUSY, SLOT_FREE);
	}
	return 0;
}

static __always_inline void gc_fragments(__u32 now_s)
{
	bpf_for_each_map_elem(&fragment_slots, gc_slot, &now_s, 0);
}

#endif
