/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The shortcut of an established flow between pods of this node: what was decided for one direction of it, in one cache
 * line, by the IPv4 header alone. Every CPU has lines of its own, which nobody else writes (docs/decisions/0023-shortcut.md).
 *
 * A line holds for a few seconds, as the copy in cache.h would, and is void by the same epoch. A packet that it does not fit,
 * whatever the cause, takes the long way, which alone knows reasons. Kept here, taken by shortcut_take.h.
 */
#ifndef SLUICEWAY_SHORTCUT_H
#define SLUICEWAY_SHORTCUT_H

#include "dp/conntrack/cache.h"
#include "dp/endpoint/location.h"
#include "dp/packet/csum.h"

enum {
	SHORTCUT_WAYS = 2,
	TAGGED_SETS = 4,
	/* in place of CACHE_S until a flow is settled: seen so late, one in use is still no idle one to a table under pressure */
	SHORTCUT_UNSETTLED_S = 2,
};

/* One direction of a flow; addresses and ports as they stand in the header. */
struct shortcut_key {
	__be32 src;
	__be32 dst;
	__be16 sport;
	__be16 dport;
	__u16 network; /* 0: the cluster's */
	__u8 protocol; /* 0: none, the line is empty */
	__u8 pad;
};

struct shortcut {
	struct shortcut_key key;
	__be32 to_src; /* what to write, where it is translated */
	__be32 to_dst;
	__be16 to_sport;
	__be16 to_dport;
	__u32 from_revision; /* of the sender's attachment, at its slot */
	__u32 to_revision;
	__u16 from_slot;
	__u16 to_slot;
	__u32 set_id; /* as struct flow's */
	__u32 set_revision;
	__u32 stamp;
	__u32 until;	      /* in tick_s()'s unit, the last in which it holds */
	__u16 addresses_diff; /* what the change of addresses adds to a sum over them */
	__u16 ports_diff;     /* and of ports */
	__u32 pad;
};

_Static_assert(sizeof(struct shortcut) == 64, "one cache line");

struct shortcut_set {
	struct shortcut ways[SHORTCUT_WAYS];
};

/* Can be mapped, so that it begins at a page and its lines are the CPU's; nobody maps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct shortcut_set);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shortcuts SEC(".maps") PRIVATE PER_CPU(32768);

/*
 * An octet of each line's hash and stamp, those of several sets together: so few that they stay in the CPU's caches. The
 * first packet of a flow does not wait for the memory of lines that are others', or void.
 */
struct shortcut_tags {
	__u8 ways[TAGGED_SETS][SHORTCUT_WAYS];
};

/* A fourth (TAGGED_SETS) of the sets. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct shortcut_tags);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shortcut_tags SEC(".maps") PRIVATE PER_CPU(8192);

/* Another one after every change that voids lines: both only grow. */
static __always_inline __u32 shortcut_stamp(__u32 epoch, __u32 revision)
{
	return epoch + revision;
}

/* Where the line of a key is, or is to be. */
struct shortcut_search {
	__u32 index; /* of its set */
	__u8 tag;
	__u8 *tags; /* of the set's ways; NULL: this CPU has no lines */
};

/* Sets *at, for a line of such a stamp. */
static __always_inline void shortcut_search(const struct shortcut_key *key, __u32 stamp, struct shortcut_search *at)
{
	const __u64 *w = (const __u64 *)key;
	__u64 hash = (w[0] ^ (w[1] + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9) * 0x94d049bb133111eb;
	struct shortcut_tags *tags;
	__u32 group;

	at->index = bpf_get_smp_processor_id() * cache_span + ((hash >> 40) & (cache_span - 1));
	at->tag = (hash >> 56) + stamp;
	group = at->index / TAGGED_SETS;
	tags = bpf_map_lookup_elem(&shortcut_tags, &group);
	at->tags = tags ? tags->ways[at->index % TAGGED_SETS] : NULL;
}

static __always_inline bool shortcut_is_of(const struct shortcut *s, const struct shortcut_key *key)
{
	const __u64 *a = (const __u64 *)&s->key, *b = (const __u64 *)key;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]));
}

static __always_inline bool shortcut_holds(const struct shortcut *s, __u32 stamp)
{
	return s->stamp == stamp && (__s32)(s->until - tick_s()) >= 0;
}

/* Is anything written but MACs and the hop? */
static __always_inline bool shortcut_translates(const struct shortcut *s)
{
	return (s->key.src ^ s->to_src) | (s->key.dst ^ s->to_dst) | (s->key.sport ^ s->to_sport) |
	       (s->key.dport ^ s->to_dport);
}

static __always_inline __u16 csum_diff_ports(const struct shortcut *s)
{
	csum_t diff = csum_replace(0, s->key.sport, s->to_sport);

	return csum_16(csum_replace(diff, s->key.dport, s->to_dport));
}

static __always_inline __u16 csum_diff_addresses(const struct shortcut *s)
{
	csum_t diff = csum_replace(0, s->key.src, s->to_src);

	return csum_16(csum_replace(diff, s->key.dst, s->to_dst));
}

/* The way for a key: its own, or one that does not hold; NULL: both are in use by others. */
static __always_inline struct shortcut *shortcut_room(struct shortcut_set *set, const struct shortcut_key *key,
						      __u32 stamp)
{
	struct shortcut *one = &set->ways[0], *other = &set->ways[1];

	if (shortcut_is_of(one, key))
		return one;
	if (shortcut_is_of(other, key) || !shortcut_holds(other, stamp))
		return other;
	return shortcut_holds(one, stamp) ? NULL : one;
}

/* The line that a packet's key is to have; NULL: it is none for the shortcut, or there is no room. */
static __always_inline struct shortcut *shortcut_claim(const struct packet *p, __u32 stamp)
{
	struct shortcut_key key = {
		.src = p->src.w[3], .dst = p->dst.w[3], .sport = p->sport, .dport = p->dport, .protocol = p->protocol};
	struct shortcut_search at;
	struct shortcut_set *set;
	struct shortcut *s;

	if (!(p->flags & PACKET_V4) || (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP))
		return NULL;
	shortcut_search(&key, stamp, &at);
	set = bpf_map_lookup_elem(&shortcuts, &at.index);
	if (!set || !at.tags)
		return NULL;
	s = shortcut_room(set, &key, stamp);
	if (!s)
		return NULL;
	at.tags[s != &set->ways[0]] = at.tag;
	s->key = key;
	s->stamp = stamp;
	return s;
}

/* What a line says of its flow, for one direction. */
__noinline int shortcut_fill(struct shortcut *s, const struct flow *f, __u32 src_hi)
{
	const struct peer_location *from, *to;
	bool translates;

	if (!s || !f)
		return 0;
	from = &f->ends[src_hi & 1];
	to = &f->ends[!(src_hi & 1)];
	translates = flow_translates(f, src_hi);
	s->to_src = translates ? f->to_src.w[3] : s->key.src;
	s->to_dst = translates ? f->to_dst.w[3] : s->key.dst;
	s->to_sport = translates ? f->to_sport : s->key.sport;
	s->to_dport = translates ? f->to_dport : s->key.dport;
	s->from_revision = from->revision;
	s->to_revision = to->revision;
	s->from_slot = from->slot;
	s->to_slot = to->slot;
	s->set_id = f->set_id;
	s->set_revision = f->set_revision;
	s->until = f->seen_s + (flow_is_settled(f, s->key.protocol) ? CACHE_S : SHORTCUT_UNSETTLED_S);
	s->addresses_diff = csum_diff_addresses(s);
	s->ports_diff = csum_diff_ports(s);
	return 0;
}

/*
 * Keeps what is known of a flow that was found after the epoch was read, for the direction of a packet. False: it is
 * none for the shortcut, or there is no room.
 */
__noinline int shortcut_keep(const struct packet *p, const struct flow *f, __u32 src_hi, __u32 epoch)
{
	struct shortcut *s;

	if (!p || !f || IS_AT_VF || !f->ends[0].slot || !f->ends[1].slot)
		return false;
	if (f->ends[0].slot == f->ends[1].slot && !flow_translates(f, src_hi))
		return false; /* by a range that has become the sender's own: is_routed_back() */
	if (f->flags & FLOW_BY_STACK || is_chained(&f->ends[0]) || is_chained(&f->ends[1]))
		return false;
	s = shortcut_claim(p, shortcut_stamp(epoch, f->revision));
	if (!s)
		return false;
	shortcut_fill(s, f, src_hi);
	return true;
}

#endif
