/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whether the flow cache may have a copy that holds under a key: when one of the same hash was last made. So small that it stays in the
 * CPU's own caches: a flow's first packet does not wait for the memory of an index that has nothing of it. Used by cache.h.
 */
#ifndef SLUICEWAY_FILTER_H
#define SLUICEWAY_FILTER_H

#include "dp/packet/packet.h"
#include "dp/packet/scratch.h"

enum {
	FILTER_BITS = 14,
	CACHE_S = 3, /* a copy of an answered flow holds so long, in tick_s()'s unit; no such flow ends sooner */
};

/* By hash, the low octet of tick_s() when a copy was made. One that is 256 units old is taken for new: one look in vain. */
struct cache_filter {
	__u8 made_s[1 << FILTER_BITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cache_filter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} cache_filters SEC(".maps") PRIVATE;

/* The place of a key. Never NULL, but the verifier wants to hear it. */
static __always_inline __u8 *filter_at(const struct flow_key *key)
{
	const __u64 *w = (const __u64 *)key;
	__u64 hash = ((w[0] ^ w[2]) * 0xbf58476d1ce4e5b9 ^ w[1] ^ w[3] ^ w[4] << 16) * 0x9e3779b97f4a7c15;
	__u32 zero = 0;
	struct cache_filter *f = bpf_map_lookup_elem(&cache_filters, &zero);

	return f ? &f->made_s[hash >> (64 - FILTER_BITS)] : NULL;
}

/* May there be a copy that holds? */
static __always_inline bool filter_may_have(const struct flow_key *key)
{
	__u8 *made_s = filter_at(key);

	return made_s && (__u8)(tick_s() - *made_s) <= CACHE_S;
}

/* A copy is made now. */
static __always_inline void filter_note(const struct flow_key *key)
{
	__u8 *made_s = filter_at(key);

	if (made_s)
		*made_s = tick_s();
}

#endif
