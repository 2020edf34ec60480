/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Flows: one look-up finds what was decided for a connection, from either direction. */
#ifndef SLUICEWAY_FLOW_H
#define SLUICEWAY_FLOW_H

#include "dp/conntrack/flow_insert.h"
#include "dp/conntrack/share.h"

EXPORT_ENUM(flow_flag);

/* When a flow beside another was begun, or conntrack GC last saw one, in tick_s()'s unit; 0: never. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} besides_seen SEC(".maps") PRIVATE;

enum { BESIDES_S = 120 }; /* longer than GC takes for a whole pass */

static __always_inline void besides_note(__u32 now_s)
{
	__u32 zero = 0, *seen = bpf_map_lookup_elem(&besides_seen, &zero);

	if (seen)
		*seen = now_s;
}

/* May there be flows beside others? Nearly always there are none, and nobody looks for them. */
static __always_inline bool besides_may_be(void)
{
	__u32 zero = 0, *seen = bpf_map_lookup_elem(&besides_seen, &zero);

	return seen && *seen && tick_s() - *seen <= BESIDES_S;
}

/* The key both directions share. Returns whether the source is the key's hi end. */
static __always_inline bool ends_key(const ip_addr *src, __be16 sport, const ip_addr *dst, __be16 dport, __u8 protocol,
				     struct flow_key *key)
{
	bool src_hi = addr_equal(src, dst) ? sport > dport : addr_is_behind(src, dst);
	const ip_addr *lo = src_hi ? dst : src, *hi = src_hi ? src : dst;

	key->lo_addr = *lo;
	key->hi_addr = *hi;
	key->lo_port = src_hi ? dport : sport;
	key->hi_port = src_hi ? sport : dport;
	key->protocol = protocol;
	key->beside = 0;
	key->network = 0;
	return src_hi;
}

static __always_inline bool tuple_key(const struct tuple *t, struct flow_key *key)
{
	return ends_key(&t->src, t->sport, &t->dst, t->dport, t->protocol, key);
}

static __always_inline bool packet_key(const struct packet *p, struct flow_key *key)
{
	return ends_key(&p->src, p->sport, &p->dst, p->dport, p->protocol, key);
}

/* The half of a serial that an entry's key makes; the other is counted. */
static __always_inline __u32 flow_key_serial(const struct flow_key *key)
{
	const __u64 *w = (const __u64 *)key;
	__u64 sum = w[0] + 3 * w[1] + 5 * w[2] + 7 * w[3] + 11 * w[4];

	return sum * 0x9e3779b97f4a7c15 >> 32 & 0xffff0000;
}

/* A new entry's serial. Ten bits count, so that an entry and the one after it under the same key differ; six are the CPU's. */
static __always_inline __u32 flow_serial_fresh(struct scratch *work, const struct flow_key *key)
{
	__u32 serial = flow_key_serial(key) | (work->entries++ << 6 & 0xffc0) | (bpf_get_smp_processor_id() & 0x3f);

	return serial ? serial : 1; /* 0 is none */
}

/*
 * What an entry says, whole. False: it was not this key's any more, or became another's meanwhile. While a new flow is
 * written, the serial is 0.
 */
static __always_inline bool flow_read(const struct flow *entry, const struct flow_key *key, struct flow *to)
{
	__u32 serial = *(const volatile __u32 *)&entry->serial;

	if (!serial || (serial ^ flow_key_serial(key)) >> 16)
		return false;
	fence_reads();
	*to = *entry;
	fence_reads();
	return to->serial == serial && *(const volatile __u32 *)&entry->serial == serial;
}

/* The same of an entry whose key is not known yet. False: it is written at this moment. */
static __always_inline bool flow_read_entry(const struct flow_entry *entry, struct flow_key *key, struct flow *to)
{
	__u32 serial = *(const volatile __u32 *)&entry->flow.serial;

	fence_reads();
	*key = entry->key;
	return flow_read(&entry->flow, key, to) && to->serial == serial;
}

enum { NOTE_TRIES = 8 }; /* each that fails has another CPU's note behind it; flags that are set stay, but for RESET */

/* Takes flags from an entry and gives it others, unless it is another flow's by now. Returns whether that changed it. */
static __always_inline bool flow_note(struct flow *entry, __u32 serial, __u32 clear, __u32 set)
{
	__u64 *word = (__u64 *)entry;

	for (int i = 0; i < NOTE_TRIES; i++) {
		__u64 old = *(volatile __u64 *)word;
		__u64 new = (old & ~((__u64)clear << 32)) | (__u64)set << 32;

		if ((__u32)old != serial || new == old)
			return false;
		if (__sync_val_compare_and_swap(word, old, new) == old)
			return true;
	}
	return false;
}

/* Does a packet whose source is the hi end (or not) come from the end that began the flow? */
static __always_inline bool from_origin(const struct flow *f, bool src_hi)
{
	return src_hi == !!(f->flags & FLOW_ORIGIN_HI);
}

/* Has the flow come so far that no pressure on the table ends it, and the table need not hear of each packet? */
static __always_inline bool flow_is_settled(const struct flow *f, __u8 protocol)
{
	return f->flags & (has_connections(protocol) ? FLOW_REPLIED : FLOW_ASSURED);
}

/* Does the entry translate packets of this direction? */
static __always_inline bool flow_translates(const struct flow *f, bool src_hi)
{
	return f->flags & (from_origin(f, src_hi) ? FLOW_FORWARD : FLOW_REVERSE);
}

/* Has the entry of these flags another one beside it? */
static __always_inline bool flow_has_pair(__u32 flags)
{
	return flags & FLOW_FORWARD || (flags & (FLOW_REVERSE | FLOW_DSR)) == FLOW_REVERSE;
}

/* Are the client's packets all that is seen of the flow? */
static __always_inline bool flow_is_one_way(__u32 flags)
{
	return (flags & (FLOW_FORWARD | FLOW_DSR)) == (FLOW_FORWARD | FLOW_DSR);
}

/* Is the connection over, by the flags of all its entries? Of one that is seen one way, when its client has said so. */
static __always_inline bool flags_are_closed(__u32 flags)
{
	if (flags & FLOW_RESET)
		return true;
	return flags & FLOW_FIN_ORIGIN && (flags & FLOW_FIN_REPLY || flow_is_one_way(flags));
}

/* The key of a pair's other entry. */
static __always_inline void flow_pair_key(const struct flow *f, __u8 protocol, struct flow_key *key)
{
	ends_key(&f->to_src, f->to_sport, &f->to_dst, f->to_dport, protocol, key);
	key->beside = f->flags & FLOW_BESIDE && f->flags & FLOW_REVERSE;
}

/*
 * Ends a flow that was read from an entry, and with it the other entry of a pair, whose key is written to *pair. False: the
 * entry is another's by now, or another CPU ends it at this moment. So a flow that has begun anew since is not ended.
 */
static __always_inline bool ct_delete_entries(const struct flow_key *key, const struct flow *f, struct flow *entry,
					      struct flow_key *pair)
{
	if (!flow_note(entry, f->serial, 0, FLOW_ENDED))
		return false;
	if (flow_has_pair(f->flags)) {
		flow_pair_key(f, key->protocol, pair);
		flow_delete(pair);
	}
	flow_delete(key);
	share_ends(f, flow_has_pair(f->flags) ? 2 : 1);
	return true;
}

/*
 * Packets that come so long after a RST, in seen_s's unit, show that an end took no notice of it: its sequence number was wrong
 * (RFC 5961 3). Those that come sooner may have been under way when the connection ended.
 */
enum { RESET_DOUBT = 2 };

/* What makes a connection's end; each half of a pair sees its own direction's. */
enum { FLOW_ENDS = FLOW_RESET | FLOW_FIN_ORIGIN | FLOW_FIN_REPLY };

#endif
