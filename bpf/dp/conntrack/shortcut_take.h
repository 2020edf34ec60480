/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* An established flow's packet by its shortcut: found by the IPv4 header alone, written and handed over at once. */
#ifndef SLUICEWAY_SHORTCUT_TAKE_H
#define SLUICEWAY_SHORTCUT_TAKE_H

#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "dp/conntrack/shortcut.h"
#include "dp/endpoint/enter.h"
#include "dp/packet/ctx.h"
#include "dp/service/backend.h"

/* Where the headers stand that the shortcut reads and writes. */
struct shortcut_headers {
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *ports; /* of UDP or TCP */
	__sum16 *check;
};

/* Is it a whole IPv4 packet without options, with a hop left, and so many octets behind its header? */
static __always_inline bool shortcut_takes_ip(const struct iphdr *ip, __u16 transport)
{
	return *(const __u8 *)ip == 0x45 && !(ip->frag_off & bpf_htons(0x3fff)) && ip->ttl > 1 &&
	       bpf_ntohs(ip->tot_len) >= sizeof(*ip) + transport;
}

/* Sets *h. False: the packet is not one for the shortcut. */
static __always_inline bool shortcut_parse(ctx_t *ctx, struct shortcut_headers *h)
{
	void *data = ctx_data(ctx), *end = ctx_end(ctx);
	struct tcphdr *tcp = data + L3 + sizeof(struct iphdr);

	h->eth = data;
	h->ip = data + L3;
	h->ports = (void *)tcp;
	h->check = &h->ports->check;
	if ((void *)(h->ports + 1) > end || h->eth->h_proto != bpf_htons(ETH_P_IP) || ctx_is_tagged(ctx))
		return false;
	if (h->ip->protocol == IPPROTO_UDP)
		return shortcut_takes_ip(h->ip, sizeof(struct udphdr));
	if (h->ip->protocol != IPPROTO_TCP || (void *)(tcp + 1) > end || tcp->syn || tcp->fin || tcp->rst)
		return false;
	h->check = &tcp->check;
	return shortcut_takes_ip(h->ip, sizeof(struct tcphdr));
}

/* The line of the packet; NULL: there is none that holds. */
static __always_inline const struct shortcut *shortcut_find(const struct shortcut_headers *h, __u32 revision)
{
	struct shortcut_key key = {.src = h->ip->saddr,
				   .dst = h->ip->daddr,
				   .sport = h->ports->source,
				   .dport = h->ports->dest,
				   .protocol = h->ip->protocol};
	__u32 zero = 0, stamp;
	__u64 *epoch = bpf_map_lookup_elem(&cache_epochs, &zero);
	struct shortcut_search at;
	struct shortcut_set *set;
	struct shortcut *s;

	if (!epoch)
		return NULL;
	stamp = shortcut_stamp(*(volatile __u64 *)epoch, revision);
	shortcut_search(&key, stamp, &at);
	if (!at.tags || (at.tags[0] != at.tag && at.tags[1] != at.tag))
		return NULL;
	set = bpf_map_lookup_elem(&shortcuts, &at.index);
	if (!set)
		return NULL;
	s = &set->ways[0];
	if (at.tags[0] != at.tag || !shortcut_is_of(s, &key))
		s = &set->ways[1];
	if (!shortcut_is_of(s, &key) || !shortcut_holds(s, stamp))
		return NULL;
	return s->set_id && s->set_revision != set_revision(s->set_id) ? NULL : s;
}

/* Has the frame come from the line's sender, by its device and under its MAC? */
static __always_inline bool shortcut_is_senders(ctx_t *ctx, const struct shortcut *s, const struct shortcut_headers *h)
{
	const struct attachment *from = attachment_at(s->from_slot);

	return from && from->revision == s->from_revision && from->ifindex == ctx_ifindex(ctx) &&
	       mac_equal((const mac_addr *)h->eth->h_source, &from->mac);
}

static __always_inline void shortcut_write(const struct shortcut *s, const mac_addr *to,
					   const struct shortcut_headers *h)
{
	const mac_addr node_mac = NODE_MAC;

	mac_copy(h->eth->h_dest, to);
	mac_copy(h->eth->h_source, &node_mac);
	/* one hop less is in the upper half of a word (RFC 1624) */
	h->ip->check = ~csum_add_16(csum_add_16(~h->ip->check, s->addresses_diff), (__u16)~bpf_htons(0x0100));
	h->ip->ttl--;
	if (!shortcut_translates(s))
		return;
	h->ip->saddr = s->to_src;
	h->ip->daddr = s->to_dst;
	h->ports->source = s->to_sport;
	h->ports->dest = s->to_dport;
}

/* Hands the packet to the pod that its flow's line names. False: it has to take the long way; nothing was changed. */
static __always_inline bool shortcut_take(ctx_t *ctx, int *verdict)
{
	const struct node *n = node_now();
	const struct attachment *to;
	struct shortcut_headers h;
	const struct shortcut *s;
	enum ctx_sum sum;

	if (!n || n->flags & NODE_LIMITS || !shortcut_parse(ctx, &h))
		return false;
	s = shortcut_find(&h, n->revision);
	if (!s || !shortcut_is_senders(ctx, s, &h))
		return false;
	to = attachment_at(s->to_slot);
	if (!to || to->revision != s->to_revision || !is_enterable(ctx, to->ifindex, to->flags))
		return false;
	if (shortcut_translates(s)) {
		sum = ctx_sum(ctx, h.ip->protocol == IPPROTO_UDP);
		if (sum == CTX_SUM_OTHER)
			return false;
		csum_write(h.check, sum, s->addresses_diff, s->ports_diff, h.ip->protocol == IPPROTO_UDP);
	}
	shortcut_write(s, &to->mac, &h);
	*verdict = enter_pod(ctx, to->ifindex, to->flags & ATTACHMENT_AF_XDP);
	return true;
}

#endif
