/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The shortcut of an established flow between pods of this node: what was decided for one direction of it, in one cache
 * line, by the IPv4 header alone. Every CPU has lines of its own, which nobody else writes (docs/decisions/0023-shortcut.md).
 *
 * A line holds for a few seconds, as the copy in cache.h would, and is void by the same epoch. A packet that it does not fit,
 * whatever the cause, takes the long way, which alone knows reasons.
 */
#ifndef SLUICEWAY_SHORTCUT_H
#define SLUICEWAY_SHORTCUT_H

#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "dp/conntrack/cache.h"
#include "dp/packet/csum.h"
#include "dp/packet/ctx.h"
#include "dp/packet/drop.h"

enum {
	SHORTCUT_WAYS = 2,
	/* in place of CACHE_S for an unanswered flow: seen so late, one in use is still no idle one to a table under pressure */
	SHORTCUT_UNANSWERED_S = 2,
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
	__u32 from_ifindex; /* the sender's, under this MAC */
	__u32 to_ifindex;
	mac_addr from_mac;
	mac_addr to_mac;
	__u32 stamp;
	__u32 until;	      /* in tick_s()'s unit, the last in which it holds */
	__u16 addresses_diff; /* what the change of addresses adds to a sum over them */
	__u16 ports_diff;     /* and of ports */
	__u16 translates;
	__u16 pad;
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

static __always_inline struct shortcut_set *shortcut_set(const struct shortcut_key *key)
{
	const __u64 *w = (const __u64 *)key;
	__u64 hash = (w[0] ^ (w[1] + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9) * 0x94d049bb133111eb;
	__u32 index = bpf_get_smp_processor_id() * cache_span + ((hash >> 40) & (cache_span - 1));

	return bpf_map_lookup_elem(&shortcuts, &index);
}

static __always_inline bool shortcut_is_of(const struct shortcut *s, const struct shortcut_key *key)
{
	const __u64 *a = (const __u64 *)&s->key, *b = (const __u64 *)key;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]));
}

/* Another one after every change that voids lines: both only grow. */
static __always_inline __u32 shortcut_stamp(__u32 epoch, __u32 generation)
{
	return epoch + generation;
}

static __always_inline bool shortcut_holds(const struct shortcut *s, __u32 stamp)
{
	return s->stamp == stamp && (__s32)(s->until - tick_s()) >= 0;
}

/* ---- finding ---------------------------------------------------------------------------------------------- */

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
	if ((void *)(h->ports + 1) > end || h->eth->h_proto != bpf_htons(ETH_P_IP))
		return false;
	if (h->ip->protocol == IPPROTO_UDP)
		return shortcut_takes_ip(h->ip, sizeof(struct udphdr));
	if (h->ip->protocol != IPPROTO_TCP || (void *)(tcp + 1) > end || tcp->syn || tcp->fin || tcp->rst)
		return false;
	h->check = &tcp->check;
	return shortcut_takes_ip(h->ip, sizeof(struct tcphdr));
}

/* The line of the packet, which holds and is the sender's own; NULL: there is none. */
static __always_inline const struct shortcut *shortcut_find(ctx_t *ctx, const struct shortcut_headers *h,
							    __u32 generation)
{
	struct shortcut_key key = {.src = h->ip->saddr,
				   .dst = h->ip->daddr,
				   .sport = h->ports->source,
				   .dport = h->ports->dest,
				   .protocol = h->ip->protocol};
	struct shortcut_set *set = shortcut_set(&key);
	__u32 zero = 0;
	__u64 *epoch = bpf_map_lookup_elem(&cache_epochs, &zero);
	struct shortcut *s;

	if (!set || !epoch)
		return NULL;
	s = &set->ways[0];
	if (!shortcut_is_of(s, &key))
		s = &set->ways[1];
	if (!shortcut_is_of(s, &key) || !shortcut_holds(s, shortcut_stamp(*(volatile __u64 *)epoch, generation)))
		return NULL;
	if (s->from_ifindex != ctx->ifindex || !mac_equal((const mac_addr *)h->eth->h_source, &s->from_mac))
		return NULL;
	return s;
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

static __always_inline __u16 csum_add_16(__u16 a, __u16 b)
{
	__u32 sum = (__u32)a + b;

	return sum + (sum >> 16);
}

/* The transport's checksum, of which ctx_sum() knows whether it is whole or left to the device. */
static __always_inline void shortcut_write_check(const struct shortcut *s, __sum16 *check, enum ctx_sum sum, bool udp)
{
	__u16 whole;

	if (sum == CTX_SUM_PARTIAL) {
		*check = csum_add_16(*check, s->addresses_diff);
		return;
	}
	if (udp && !*check)
		return;
	whole = ~csum_add_16(csum_add_16(~*check, s->addresses_diff), s->ports_diff);
	*check = udp && !whole ? 0xffff : whole; /* zero says that there is no sum (RFC 768) */
}

static __always_inline void shortcut_write(const struct shortcut *s, const struct shortcut_headers *h)
{
	const mac_addr node_mac = NODE_MAC;

	mac_copy(h->eth->h_dest, &s->to_mac);
	mac_copy(h->eth->h_source, &node_mac);
	/* one hop less is in the upper half of a word (RFC 1624) */
	h->ip->check = ~csum_add_16(csum_add_16(~h->ip->check, s->addresses_diff), (__u16)~bpf_htons(0x0100));
	h->ip->ttl--;
	if (!s->translates)
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
	struct shortcut_headers h;
	const struct shortcut *s;
	enum ctx_sum sum;

	if (!n || n->flags & NODE_LIMITS || !shortcut_parse(ctx, &h))
		return false;
	s = shortcut_find(ctx, &h, n->generation);
	if (!s)
		return false;
	if (s->translates) {
		sum = ctx_sum(ctx);
		if (sum == CTX_SUM_OTHER)
			return false;
		shortcut_write_check(s, h.check, sum, h.ip->protocol == IPPROTO_UDP);
	}
	shortcut_write(s, &h);
	*verdict = bpf_redirect_peer(s->to_ifindex, 0);
	return true;
}

/* ---- keeping ---------------------------------------------------------------------------------------------- */

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

/*
 * Keeps what is known of a flow that was found after the epoch was read, for the direction of a packet. False: it is
 * none for the shortcut, or there is no room.
 */
static __always_inline bool shortcut_keep(const struct packet *p, const struct flow *f, bool src_hi, __u32 epoch)
{
	bool replied = f->flags & FLOW_REPLIED;
	const struct peer_location *from = &f->ends[src_hi], *to = &f->ends[!src_hi];
	struct shortcut_key key = {
		.src = p->src.w[3], .dst = p->dst.w[3], .sport = p->sport, .dport = p->dport, .protocol = p->protocol};
	__u32 stamp = shortcut_stamp(epoch, f->generation);
	struct shortcut_set *set;
	struct shortcut *s;

	if (!(p->flags & PACKET_V4) || !from->ifindex || !to->ifindex ||
	    (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP))
		return false;
	set = shortcut_set(&key);
	if (!set)
		return false;
	s = shortcut_room(set, &key, stamp);
	if (!s)
		return false;
	s->key = key;
	s->translates = flow_translates(f, src_hi);
	s->to_src = s->translates ? f->to_src.w[3] : key.src;
	s->to_dst = s->translates ? f->to_dst.w[3] : key.dst;
	s->to_sport = s->translates ? f->to_sport : key.sport;
	s->to_dport = s->translates ? f->to_dport : key.dport;
	s->from_ifindex = from->ifindex;
	s->to_ifindex = to->ifindex;
	s->from_mac = from->mac;
	s->to_mac = to->mac;
	s->stamp = stamp;
	s->until = f->seen_s + (replied ? CACHE_S : SHORTCUT_UNANSWERED_S);
	s->addresses_diff = csum_diff_addresses(s);
	s->ports_diff = csum_diff_ports(s);
	return true;
}

#endif
