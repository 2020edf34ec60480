/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* An entry of the table of flows by itself: its key, its serial, how it is read whole and noted in, and the key of its other half. */
#ifndef SLUICEWAY_FLOW_ENTRY_H
#define SLUICEWAY_FLOW_ENTRY_H

#include "dp/conntrack/flow_table.h"
#include "dp/endpoint/interface.h"

/* What makes a connection's end; each half of a pair sees its own direction's. */
enum { FLOW_ENDS = FLOW_RESET | FLOW_FIN_ORIGIN | FLOW_FIN_REPLY };

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
	key->network = own_slot;
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

/* Has the entry of these flags another one beside it? */
static __always_inline bool flow_has_pair(__u32 flags)
{
	return flags & FLOW_FORWARD || (flags & (FLOW_REVERSE | FLOW_DSR)) == FLOW_REVERSE;
}

/* The key of a pair's other entry, as it is seen here. */
static __always_inline void flow_pair_key(const struct flow *f, __u8 protocol, struct flow_key *key)
{
	ends_key(&f->to_src, f->to_sport, &f->to_dst, f->to_dport, protocol, key);
	key->beside = f->flags & FLOW_BESIDE && f->flags & FLOW_REVERSE;
}

/* The same beside a key that may be seen elsewhere: for who meets all flows. */
static __always_inline void flow_pair_key_of(const struct flow *f, const struct flow_key *known, struct flow_key *key)
{
	flow_pair_key(f, known->protocol, key);
	key->network = known->network;
}

#endif
