/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Copies of recent flows, close together: among many flows the table's entries are all over memory, and a packet waits
 * for its bucket's head and then for the entry itself (docs/decisions/0018-flow-cache.md). Every CPU has copies of its own,
 * which nobody else writes, in a ring; a small index, by hash, says where in the ring a flow's is.
 *
 * A copy holds for the second of its making, of an answered flow for a few. So an entry in use is noted in the table that
 * often, and one that goes by its time-out, which is longer, has no copy left. What ends or changes an entry sooner
 * raises the epoch, after it has done so; who copies has read the epoch before the entry, with a fence_reads() between.
 */
#ifndef SLUICEWAY_CACHE_H
#define SLUICEWAY_CACHE_H

#include "dp/conntrack/epoch.h"
#include "dp/conntrack/filter.h"
#include "dp/conntrack/flow.h"

const volatile __u32 cache_span DOC("flows that a CPU caches, a power of two, at most 65536") = 512;

enum {
	CACHE_WAYS = 4,
	CACHE_PLACE = 0xffff, /* the part of a mark that is a place in the ring */
	CACHE_NONE = ~0U,     /* in place of a cached flow's index */
};

struct cached_flow {
	struct flow_key key;
	struct flow flow; /* its ends and revisions brought up to date, which the entry's are not */
	__u32 epoch;
	__u32 asked; /* tick_moment() when the way on was, see next_hop.h; 0: not since the copy was made */
};

_Static_assert(sizeof(struct cached_flow) == 128, "two cache lines, fetched at once");

/* Where the flows of one part of all hashes are: in each, half a hash over a place in the ring. */
struct cache_set {
	__u32 ways[CACHE_WAYS];
};

/* The CPUs' rings, one after the other; a CPU for which there is no room has none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct cached_flow);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_caches SEC(".maps") PRIVATE PER_CPU(32768);

/* Half as many as cached flows: with four ways each, room for twice as many. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct cache_set);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} cache_sets SEC(".maps") PRIVATE PER_CPU(16384);

/* Copies that a CPU has made: the next one's place in its ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} cache_heads SEC(".maps") PRIVATE;

static __always_inline __u32 cache_hash(const struct flow_key *key, __u32 *part)
{
	const __u64 *w = (const __u64 *)key;
	/* two chains that do not wait for each other */
	__u64 a = (w[0] + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9 ^ w[1];
	__u64 b = (w[2] + 0x94d049bb133111eb) * 0x9e3779b97f4a7c15 ^ w[3];

	a = (a ^ a >> 32) * 0xc2b2ae3d27d4eb4f;
	b = (b ^ b >> 32 ^ w[4]) * 0xbf58476d1ce4e5b9;
	a = (a ^ b ^ b >> 29) * 0x94d049bb133111eb;
	*part = a >> 48;
	return a >> 16;
}

static __always_inline bool cache_is_of(const struct cached_flow *r, const struct flow_key *key)
{
	const __u64 *a = (const __u64 *)&r->key, *b = (const __u64 *)key;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]));
}

/* Where a key's cached flow is looked for. */
struct cache_search {
	__u32 set;
	__u32 hash; /* in the upper half of a mark */
};

static __always_inline struct cache_set *cache_search(const struct flow_key *key, struct cache_search *s)
{
	s->hash = cache_hash(key, &s->set) & ~CACHE_PLACE;
	s->set = bpf_get_smp_processor_id() * (cache_span / 2) + (s->set & (cache_span / 2 - 1));
	return bpf_map_lookup_elem(&cache_sets, &s->set);
}

/* Which way of a set is marked with a hash; CACHE_WAYS: none. */
static __always_inline __u32 cache_way(const struct cache_set *set, __u32 hash)
{
#pragma unroll
	for (int i = 0; i < CACHE_WAYS; i++)
		if ((set->ways[i] & ~CACHE_PLACE) == hash)
			return i;
	return CACHE_WAYS;
}

/* The cached flow at a place in this CPU's ring; *cached is its index. */
static __always_inline struct cached_flow *cache_at(__u32 place, __u32 *cached)
{
	*cached = bpf_get_smp_processor_id() * cache_span + (place & (cache_span - 1));
	return bpf_map_lookup_elem(&flow_caches, cached);
}

/* The cached flow under a key; whether it still holds is another question. NULL: none. Sets *cached, its index. */
static __always_inline struct cached_flow *cache_find(const struct flow_key *key, __u32 *cached)
{
	struct cache_search s;
	const struct cache_set *set = cache_search(key, &s);
	struct cached_flow *r;
	__u32 way;

	if (!set)
		return NULL;
	way = cache_way(set, s.hash);
	if (way >= CACHE_WAYS)
		return NULL;
	r = cache_at(set->ways[way & (CACHE_WAYS - 1)], cached);
	if (r && cache_is_of(r, key))
		return r;
	*cached = CACHE_NONE; /* another flow has taken the place since */
	return NULL;
}

/* The next place in the ring, which takes the oldest's; the mark of a hash leads there, and no more to an older copy. */
static __always_inline struct cached_flow *cache_take(const struct flow_key *key, __u32 *cached)
{
	struct cache_search s;
	__u32 zero = 0, *made = bpf_map_lookup_elem(&cache_heads, &zero);
	struct cache_set *set = cache_search(key, &s);
	__u32 place, way;

	if (!made || !set)
		return NULL;
	place = (*made)++ & (cache_span - 1);
	way = cache_way(set, s.hash);
	if (way >= CACHE_WAYS)
		way = place;
	set->ways[way & (CACHE_WAYS - 1)] = s.hash | place;
	return cache_at(place, cached);
}

/*
 * Copies a flow that was found after the epoch was read: what has ended since then is void already. The copy that is at *cached is
 * written over; CACHE_NONE: there is none, and *cached is set.
 */
static __always_inline void cache_keep(const struct flow_key *key, const struct flow *f, __u32 epoch, __u32 *cached)
{
	struct cached_flow *r = bpf_map_lookup_elem(&flow_caches, cached);

	if (!r)
		r = cache_take(key, cached);
	if (!r)
		return;
	r->key = *key;
	r->flow = *f;
	r->epoch = epoch;
	r->asked = 0;
	filter_note(key);
}

/* Was the way on of a cached flow asked for this moment? */
static __always_inline bool cache_is_asked(__u32 cached)
{
	struct cached_flow *r = bpf_map_lookup_elem(&flow_caches, &cached);

	return r && r->asked == tick_moment();
}

/* The way on of a cached flow is asked for now. */
static __always_inline void cache_ask(__u32 cached)
{
	struct cached_flow *r = bpf_map_lookup_elem(&flow_caches, &cached);

	if (r)
		r->asked = tick_moment();
}

/* Ends the flow that was found under a key, as ct_delete_entries(). Copies that hold are to be voided. */
__noinline int ct_delete(const struct flow_key *key)
{
	struct scratch *work = scratch();
	struct flow *entry;

	if (!key || !work)
		return false;
	entry = flow_find(key);
	return entry && ct_delete_entries(key, &work->found, entry, &work->other);
}

#endif
