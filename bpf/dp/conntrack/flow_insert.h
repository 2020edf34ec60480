/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What inserts into the table of flows. It holds the lock of the key's first bucket, so that a key is inserted by one CPU at a time;
 * and that of the bucket where it puts the entry, so that nobody else puts one there. In steps that do not call each other, for their
 * stacks would add up; what they tell each other is in the scratch.
 *
 * A lock is held for some ten or a hundred ns, by programs alone, which run to their end, and with bottom halves off: nothing is left
 * locked. While the hypervisor has stopped the CPU that holds one, new flows of this one bucket find the table full, as they would
 * by chance.
 */
#ifndef SLUICEWAY_FLOW_INSERT_H
#define SLUICEWAY_FLOW_INSERT_H

#include "dp/abi/share.h"
#include "dp/conntrack/flow_table.h"

enum {
	FLOWS_FULL = -7,   /* -E2BIG */
	FLOW_EXISTS = -17, /* -EEXIST */
	FLOW_SHARED = -12, /* -ENOMEM: what is free is left to others */
	FLOW_BUSY = -16,   /* for the steps below alone */
};

enum {
	FLOW_MANY = 9,	  /* entries in the first bucket from which on one goes into the second, if that has fewer */
	FLOW_SPINS = 16,  /* looks at a lock that is another's, one behind the other */
	FLOW_LOOKS = 512, /* more of them, with 20 to 30 ns between */
	FLOW_TRIES = 4,	  /* so that it is given up after some 50 us: longer than most interrupts take */
};

enum {
	FILL_LOOKS =
		6, /* log2 of the buckets whose average counts: of so many it is known to a fortieth of the table */
	FILL_BITS = 15, /* of an average's fraction */
};

static __always_inline bool flow_is_locked(const struct flow_bucket *b)
{
	return *(const volatile __u32 *)&b->lock;
}

/* Locks a bucket. False: it is another's. */
static __always_inline bool flow_lock(struct flow_bucket *b)
{
	for (int i = 0; i < FLOW_SPINS; i++)
		if (!flow_is_locked(b) && !__sync_val_compare_and_swap(&b->lock, 0, 1))
			return true;
	return false;
}

/* Whoever has the lock next sees what was done under it. */
static __always_inline void flow_unlock(struct flow_bucket *b)
{
	fence_writes();
	*(volatile __u32 *)&b->lock = 0;
}

/* How many ways of a bucket are free; without branches, which the verifier would follow 2^14 ways. */
static __always_inline __u32 flow_room(const struct flow_bucket *b)
{
	__u64 room = 0;

#pragma unroll
	for (int i = 0; i < FLOW_WAYS; i++) {
		__u64 tag = *(const volatile __u32 *)&b->tags[i];

		room += (tag - 1) >> 63;
	}
	return room;
}

/*
 * Keeps in mind how full a bucket is that a new entry's key has. Nobody outside knows which it has, so these are like any others, and
 * their average is the table's, without a number that all CPUs would write.
 */
static __always_inline void fill_note(struct scratch *work, __u32 room)
{
	__u32 used = FLOW_WAYS - room;

	work->fill += (used << (FILL_BITS - FILL_LOOKS)) - (work->fill >> FILL_LOOKS);
}

/*
 * Has the owner of the entry that is about to be stored more than is left for all? What each may have follows from what is free, so
 * who takes without end leaves a part of the table free, however many they are. Nobody has more than the table: while that has room, no
 * count limits anybody, right or wrong.
 *
 * Source: Choudhury and Hahne, Dynamic queue length thresholds for shared-memory packet switches, IEEE/ACM ToN 6(2), 1998.
 */
static __always_inline bool flow_is_shared_out(const struct scratch *work)
{
	__u64 room = (__u64)flow_bucket_number * FLOW_ROOM;
	__u64 used = (__u64)flow_bucket_number * work->fill >> FILL_BITS;
	__u64 most = used < room ? SHARE_TIMES * (room - used) : 0;

	return work->place.own > SHARE_LEAST && used > most && work->place.own > most;
}

/*
 * Makes an entry a key's, whose way has no tag yet. Who still holds the entry that was there before reads no serial while the rest is of
 * two, see flow_read(). Plain writes: an exchange would wait for the entry's memory, x86 keeps their order without.
 */
static __always_inline void flow_write(struct flow_entry *e, const struct flow_key *key, const struct flow *f)
{
	const __u64 *from = (const __u64 *)f;
	__u64 *to = (__u64 *)&e->flow;

	*(volatile __u64 *)to = 0; /* serial and flags */
	fence_writes();
	e->key = *key;
#pragma unroll
	for (int i = 1; i < (int)(sizeof(*f) / sizeof(*to)); i++)
		to[i] = from[i];
	fence_writes();
	*(volatile __u64 *)to = *from;
}

/*
 * Locks the first bucket of a key, and notes its place; an entry that it has is taken from the table. FLOW_EXISTS (it has one, with the flag
 * BPF_NOEXIST), FLOW_SHARED, FLOWS_FULL: nothing is locked.
 */
__noinline int flow_claim(const struct flow_key *key)
{
	struct scratch *work = scratch();
	struct flow_bucket *b;
	__u32 room;
	int where;

	if (!key || !work || !flow_place(key, &work->place))
		return FLOWS_FULL;
	work->place.bucket = work->place.first;
	b = flow_bucket_at(work->place.first);
	if (!b || !flow_lock(b))
		return FLOW_BUSY;
	where = flow_search(&work->place, b, key);
	if (where >= 0 && work->place.flags == BPF_NOEXIST) {
		flow_unlock(b);
		return FLOW_EXISTS;
	}
	if (where >= 0)
		flow_take(&work->place, where);
	room = flow_room(b);
	fill_note(work, room);
	if (where < 0 && flow_is_shared_out(work)) {
		flow_unlock(b);
		return FLOW_SHARED;
	}
	work->place.room = where == FLOW_TAGGED ? 0 : room;
	return 0;
}

/* Has the second bucket fewer entries than the first, and none under the tag? */
static __always_inline bool flow_is_emptier(const struct flow_bucket *second, const struct flow_place *at)
{
	return flow_room(second) > at->room && flow_way(second, at->tag) == FLOW_WAYS;
}

/*
 * The claimed key's first bucket has many entries: locks and takes the second, where that has fewer. FLOWS_FULL: both have no
 * room, FLOW_BUSY: the first has none and somebody holds the second; nothing is locked then, so nobody waits who holds one.
 */
__noinline int flow_choose(void)
{
	struct scratch *work = scratch();
	struct flow_bucket *first, *second;
	int error = FLOWS_FULL;

	if (!work)
		return error;
	first = flow_bucket_at(work->place.first);
	second = flow_bucket_at(work->place.second);
	if (!first || !second)
		return error;
	if (work->place.second == work->place.first) {
		; /* there is but one */
	} else if (!flow_lock(second)) {
		error = FLOW_BUSY;
	} else if (flow_is_emptier(second, &work->place)) {
		/* before there is one, that nobody who looks for it stops at the first */
		__sync_fetch_and_add(&first->elsewhere, 1);
		work->place.bucket = work->place.second;
		return 0;
	} else {
		flow_unlock(second);
	}
	if (work->place.room)
		return 0;
	if (error == FLOW_BUSY)
		work->place.bucket = work->place.second;
	flow_unlock(first);
	return error;
}

/* Looks at the lock of the bucket that was chosen. Returns whether nobody has to wait any more. */
static long flow_look(__u32 look, void *ctx)
{
	struct scratch *work = scratch();
	struct flow_bucket *b = work ? flow_bucket_at(work->place.bucket) : NULL;

	(void)look;
	(void)ctx;
	if (!b || !flow_is_locked(b))
		return 1;
	bpf_ktime_get_ns(); /* takes its time */
	return 0;
}

/* Waits for the lock of the bucket that was chosen. */
__noinline int flow_wait(void)
{
	return bpf_loop(FLOW_LOOKS, flow_look, NULL, 0);
}

/* Puts the claimed key's entry into the bucket that was chosen, which has room and is locked. */
__noinline int flow_put(const struct flow_key *key, const struct flow *f)
{
	struct scratch *work = scratch();
	struct flow_bucket *b;
	struct flow_entry *e;
	__u32 way;

	if (!key || !f || !work)
		return FLOWS_FULL;
	b = flow_bucket_at(work->place.bucket);
	if (!b)
		return FLOWS_FULL;
	way = flow_way(b, 0);
	e = flow_entry_at(work->place.bucket, way);
	if (e && way < FLOW_WAYS) {
		flow_write(e, key, f);
		fence_writes();
		*(volatile __u32 *)flow_tag_at(b, way) = work->place.tag;
	}
	flow_unlock(b);
	if (work->place.bucket == work->place.first)
		return 0;
	b = flow_bucket_at(work->place.first);
	if (b)
		flow_unlock(b);
	return 0;
}

/*
 * Flags and what is returned are bpf_map_update_elem()'s: FLOW_EXISTS, FLOWS_FULL where neither of the key's buckets has room, or
 * FLOW_SHARED where its owner, in the scratch, is to leave the room to others.
 */
static __always_inline int flow_insert(const struct flow_key *key, const struct flow *f, __u32 flags)
{
	struct scratch *work = scratch();
	int error = FLOWS_FULL;

	if (!work)
		return FLOWS_FULL;
	work->place.flags = flags;
	for (int i = 0; i < FLOW_TRIES; i++) {
		error = flow_claim(key);
		if (!error && work->place.room <= FLOW_WAYS - FLOW_MANY)
			error = flow_choose();
		if (error != FLOW_BUSY)
			break;
		flow_wait();
	}
	if (error)
		return error == FLOW_BUSY ? FLOWS_FULL : error;
	return flow_put(key, f);
}

#endif
