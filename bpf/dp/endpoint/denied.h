/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The ranges from which nothing is let in. XDP asks before all else, of the outermost IP header and that alone: what nobody wants
 * costs no flow, no buffer and no look at its transport.
 */
#ifndef SLUICEWAY_DENIED_H
#define SLUICEWAY_DENIED_H

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "dp/abi/prefix.h"
#include "dp/endpoint/prefix.h"
#include "dp/packet/cursor.h"
#include "dp/packet/scratch.h"

enum { VLAN_TAGS = 2 /* IEEE 802.1ad: a service tag, and a customer's */ };

/* Behind Ethernet's addresses and type: a tag, and the type of what follows. */
struct vlan_tag {
	__be16 number;
	__be16 ethertype;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct denied_prefix);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} denied_prefixes SEC(".maps") AGENT_WRITES(18);

/* What type the frame is of behind its VLAN tags, if it has some. */
static __always_inline __be16 untagged_type(struct cursor *c)
{
	struct ethhdr *eth = take_header(c, struct ethhdr);
	struct vlan_tag *tag;
	__be16 type;

	if (!eth)
		return 0;
	type = eth->h_proto;
	for (int i = 0; i < VLAN_TAGS; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			return type;
		tag = take_header(c, struct vlan_tag);
		if (!tag)
			return 0;
		type = tag->ethertype;
	}
	return type;
}

/* Reads who sent to whom what parse() has not read: a tagged frame, or one that ends too soon. False: it is no whole IP header. */
static __always_inline bool read_addresses(const ctx_t *ctx, struct packet *p)
{
	struct cursor c = cursor_at(ctx, 0);
	__be16 type = untagged_type(&c);
	struct ipv6hdr *ip6;
	struct iphdr *ip4;

	if (type == bpf_htons(ETH_P_IP)) {
		ip4 = take_header(&c, struct iphdr);
		if (!ip4)
			return false;
		p->src = addr_v4(ip4->saddr);
		p->dst = addr_v4(ip4->daddr);
		p->protocol = ip4->protocol;
		return true;
	}
	if (type != bpf_htons(ETH_P_IPV6))
		return false;
	ip6 = take_header(&c, struct ipv6hdr);
	if (!ip6)
		return false;
	p->src = addr_v6(&ip6->saddr);
	p->dst = addr_v6(&ip6->daddr);
	p->protocol = ip6->nexthdr;
	return true;
}

/* Does the packet come from a denied range, whose source is in work->packet? */
static __always_inline bool is_denied(struct scratch *work)
{
	work->range = prefix_key_of(&work->packet.src);
	return bpf_map_lookup_elem(&denied_prefixes, &work->range);
}

#endif
