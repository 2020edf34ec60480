/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Flows: one look-up finds what was decided for a connection, from either direction. */
#ifndef SLUICEWAY_FLOW_H
#define SLUICEWAY_FLOW_H

#include "dp/conntrack/flow_entry.h"
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
} besides_seen SEC(".maps") PRIVATE CARRIED;

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
		flow_pair_key_of(f, key, pair);
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

#endif
