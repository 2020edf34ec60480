/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The table of flows, a hash of our own in two arrays, which programs reach without a call (docs/decisions/0041-flow-table.md). A
 * bucket is a cache line of tags, one for each of its ways; the entry of a way is at the way's place in the other array. A
 * key has two buckets. Its entry is in the first, or in the second where the first had many.
 *
 * Here is what looks up and deletes: neither waits for anybody. A tag is set after its entry is whole, and who takes an entry
 * from the table takes its tag away. flow_insert.h has what inserts.
 */
#ifndef SLUICEWAY_FLOW_TABLE_H
#define SLUICEWAY_FLOW_TABLE_H

#include "dp/abi/flow.h"
#include "dp/packet/packet.h"
#include "dp/packet/scratch.h"

EXPORT_NUMBER(FLOW_WAYS);
EXPORT_NUMBER(FLOW_ROOM);

_Static_assert(sizeof(struct flow_key) == 40, "hashed as words");
_Static_assert(sizeof(struct flow_key) == FLOW_KEY_WORDS * sizeof(__u32), "and those are all of it");
_Static_assert(sizeof(struct flow) == 80, "two cache lines with its key, and what a copy of both adds");
_Static_assert(sizeof(struct flow_bucket) == 64, "one cache line");
_Static_assert(sizeof(struct flow_entry) == 128, "two cache lines, fetched at once");

const volatile __u32 flow_bucket_number DOC("buckets of the flow table") = 26240;

/* Can be mapped, so that they begin at a page and their lines are the CPU's; Python reads them so. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 26240);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_buckets SEC(".maps") PRIVATE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144); /* that it has room for: the loader makes it larger, see maps/flow_table.py */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_entry);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps") PROGRAMS_WRITE IN_BUCKETS(flow_buckets) SIZED_BY(max_flows) PER_CPU(65536) CARRIED;

/* Drawn when the map is made, and nobody's outside: who knows it could choose ports that fill one bucket. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_seed);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_seeds SEC(".maps") PROGRAMS_WRITE;

/* In place of where an entry is. */
enum {
	FLOW_NONE = -1,	  /* there is none */
	FLOW_TAGGED = -2, /* nor may it be put into the first bucket: another key has its tag there */
};

enum { FLOW_WAY_BITS = 4 /* of where an entry is; the others are its bucket */ };

/*
 * Where a key's entry can be, by a multilinear hash of the key's words: two keys have the same by chance alone, however they are
 * chosen (Lemire and Kaser, Strongly universal string hashing is fast, 2012). It is linear, so that under some seeds ports in a row would
 * fill some buckets and leave others; mixed (Steele et al., Fast splittable pseudorandom number generators, 2014) they are spread.
 */
static __always_inline bool flow_place(const struct flow_key *key, struct flow_place *at)
{
	const __u32 *w = (const __u32 *)key;
	__u32 zero = 0;
	const struct flow_seed *seed = bpf_map_lookup_elem(&flow_seeds, &zero);
	__u64 hash = 0;

	if (!seed)
		return false;
#pragma unroll
	for (int i = 0; i < FLOW_KEY_WORDS; i += 2)
		hash += (w[i] + seed->words[i]) * (w[i + 1] + seed->words[i + 1]);
	hash = (hash ^ hash >> 32) * 0xbf58476d1ce4e5b9;
	hash = (hash ^ hash >> 32) * 0x94d049bb133111eb;
	hash ^= hash >> 32;
	at->first = (hash >> 32) * flow_bucket_number >> 32;
	at->second = (hash & 0xffffffff) * flow_bucket_number >> 32;
	at->tag = (__u32)(hash >> 32 ^ hash << 15) | 1; /* of the bits that say least of the buckets; 0 is none */
	return true;
}

/* A way's tag. The compiler knows that it is one of so many, Linux 6.1's verifier does not. */
static __always_inline __u32 *flow_tag_at(struct flow_bucket *b, __u32 way)
{
	barrier_var(way);
	return &b->tags[way & ((1 << FLOW_WAY_BITS) - 1)];
}

static __always_inline struct flow_bucket *flow_bucket_at(__u32 bucket)
{
	return bpf_map_lookup_elem(&flow_buckets, &bucket);
}

static __always_inline struct flow_entry *flow_entry_at(__u32 bucket, __u32 way)
{
	__u32 index = bucket * FLOW_WAYS + way;

	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline bool flow_key_is(const struct flow_key *key, const struct flow_key *other)
{
	const __u64 *a = (const __u64 *)key, *b = (const __u64 *)other;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]));
}

/* The first way of a bucket that has a tag; FLOW_WAYS: none. */
static __always_inline __u32 flow_way_known(const struct flow_bucket *b, __u32 tag)
{
#pragma unroll
	for (int i = 0; i < FLOW_WAYS; i++)
		if (*(const volatile __u32 *)&b->tags[i] == tag)
			return i;
	return FLOW_WAYS;
}

/* The same, hidden from the verifier, which would follow what comes then once for each way. */
static __always_inline __u32 flow_way(const struct flow_bucket *b, __u32 tag)
{
	__u32 way = flow_way_known(b, tag), any = *(const volatile __u32 *)&b->elsewhere;

	way ^= any;
	barrier_var(way);
	return way ^ any;
}

/* Are there entries in their second bucket whose first this is? */
static __always_inline bool flow_is_elsewhere(const struct flow_bucket *b)
{
	return *(const volatile __u32 *)&b->elsewhere;
}

/* Where a key's entry is, FLOW_NONE or FLOW_TAGGED; b is its first bucket. A bucket has no tag twice. */
static __always_inline int flow_search(const struct flow_place *at, const struct flow_bucket *b,
				       const struct flow_key *key)
{
	__u32 way = flow_way(b, at->tag);
	const struct flow_entry *e;
	int none = FLOW_NONE;

	if (way < FLOW_WAYS) {
		e = flow_entry_at(at->first, way);
		if (e && flow_key_is(&e->key, key))
			return at->first << FLOW_WAY_BITS | way;
		none = FLOW_TAGGED;
	}
	if (!flow_is_elsewhere(b))
		return none;
	b = flow_bucket_at(at->second);
	way = b ? flow_way(b, at->tag) : FLOW_WAYS;
	if (way == FLOW_WAYS)
		return none;
	e = flow_entry_at(at->second, way);
	return e && flow_key_is(&e->key, key) ? (int)(at->second << FLOW_WAY_BITS | way) : none;
}

/* As flow_search(). A function of its own, verified once and not at every look-up. */
__noinline int flow_where(const struct flow_key *key)
{
	struct flow_bucket *b;
	struct flow_place at;

	if (!key || !flow_place(key, &at))
		return FLOW_NONE;
	b = flow_bucket_at(at.first);
	return b ? flow_search(&at, b, key) : FLOW_NONE;
}

/* What stands under a key, to be read by flow_read() alone: it may be another key's at once. NULL: nothing does. */
static __always_inline struct flow *flow_find(const struct flow_key *key)
{
	__u32 where = flow_where(key); /* FLOW_NONE is behind the array's end */
	struct flow_entry *e = flow_entry_at(where >> FLOW_WAY_BITS, where & ((1 << FLOW_WAY_BITS) - 1));

	return e ? &e->flow : NULL;
}

/*
 * Takes the entry that was found from the table. False: another CPU has. Since the search the way can have become another key's only where that
 * has the same tag: by chance once in 2^31, and nobody does it on purpose who does not know the seed.
 */
static __always_inline bool flow_take(const struct flow_place *at, __u32 where)
{
	__u32 bucket = where >> FLOW_WAY_BITS, way = where & ((1 << FLOW_WAY_BITS) - 1);
	struct flow_bucket *b = flow_bucket_at(bucket);

	if (!b || __sync_val_compare_and_swap(flow_tag_at(b, way), at->tag, 0) != at->tag)
		return false;
	if (bucket == at->first)
		return true;
	b = flow_bucket_at(at->first);
	if (b)
		__sync_fetch_and_add(&b->elsewhere, -1);
	return true;
}

/* Takes a key's entry from the table. Returns whether there was one. */
__noinline int flow_delete(const struct flow_key *key)
{
	struct flow_bucket *b;
	struct flow_place at;
	int where;

	if (!key || !flow_place(key, &at))
		return false;
	b = flow_bucket_at(at.first);
	where = b ? flow_search(&at, b, key) : FLOW_NONE;
	return where >= 0 && flow_take(&at, where);
}

#endif
