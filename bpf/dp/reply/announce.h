/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Answers who asks on a subnet for an address that this node announces: ARP (RFC 826, RFC 5227) and neighbour discovery
 * (RFC 4861), with the MAC of the device where it is asked. Nobody else comes here, so that no other packet pays.
 *
 * While this node's lease is fresh nobody else announces, and it answers. When it is not, another may have taken over, and tells
 * so on the subnet: it answers until it hears that, or until its agent has been silent for too long (docs/loadbalancer.md).
 */
#ifndef SLUICEWAY_ANNOUNCE_H
#define SLUICEWAY_ANNOUNCE_H

#include "dp/abi/announce.h"
#include "dp/endpoint/own_mac.h"
#include "dp/packet/header.h"
#include "dp/packet/scratch.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct announced_key);
	__type(value, struct announced);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} announced SEC(".maps") AGENT_WRITES(87) SIZED_BY(max_services);

/* One record, under key 0: the agent's, which it renews with its lease, apart from all that it writes in order. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct announcing);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} announcing SEC(".maps") PROGRAMS_WRITE;

enum {
	NEIGHBOR_SOLICITATION = 135,
	NEIGHBOR_ADVERTISEMENT = 136,
	LINK_HOPS = 255,	 /* hop limit of what no router has passed on (RFC 4861 7.1) */
	OPTION_SOURCE_MAC = 1,	 /* of the asker's */
	OPTION_TARGET_MAC = 2,	 /* of who has the address */
	NEIGHBOR_OCTETS = 24,	 /* of a solicitation or an advertisement, before its options */
	NEIGHBOR_MAX = 64,	 /* with options: a MAC's and a nonce's (RFC 3971) take 16 */
	NEIGHBOR_OPTION = 8,	 /* the unit of their lengths, and the least */
	ADVERTISES_ASKED = 0x40, /* flags: it was asked for, */
	ADVERTISES_NEW = 0x20,	 /* and takes the place of what is known */
};

/* RFC 826; the kernel's header of it needs a C library's. */
enum {
	ARP_ETHERNET = 1, /* hardware */
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
};

/* ARP for IPv4 over Ethernet. */
struct arp_ethernet {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_octets;
	__u8 protocol_octets;
	__be16 operation;
	mac_addr sender_mac;
	__be32 sender;
	mac_addr target_mac;
	__be32 target;
} __attribute__((packed));
_Static_assert(sizeof(struct arp_ethernet) == 28, "RFC 826");

/* A neighbour solicitation or advertisement up to its options. */
struct neighbor_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags; /* the first octet; a solicitation has none */
	ip_addr target;
};
_Static_assert(sizeof(struct neighbor_message) == NEIGHBOR_OCTETS, "RFC 4861 4.3");

struct arp_frame {
	struct ethhdr eth;
	struct arp_ethernet arp;
} __attribute__((packed));

struct neighbor_frame {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct neighbor_message message;
	__u8 option;
	__u8 option_length;
	mac_addr mac;
} __attribute__((packed));
_Static_assert(sizeof(struct neighbor_frame) <= sizeof(((struct scratch *)0)->reply), "room for the answer");
_Static_assert(NEIGHBOR_MAX <= sizeof(((struct scratch *)0)->options), "room for the question");

/* Can a frame be sent to it alone? */
static __always_inline bool mac_is_unicast(const void *mac)
{
	const __u8 *a = mac;

	return !(a[0] & 1) && (a[0] | a[1] | a[2] | a[3] | a[4] | a[5]);
}

static __always_inline struct announced *announced_find(ctx_t *ctx, const ip_addr *addr)
{
	struct announced_key key = {.addr = *addr, .ifindex = ctx_ifindex(ctx)};

	return bpf_map_lookup_elem(&announced, &key);
}

/* Is the address still this node's to answer for? */
static __always_inline bool is_announced(const struct announced *a)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct announcing *state;
	__u32 zero = 0;

	state = bpf_map_lookup_elem(&announcing, &zero);
	if (!state || now >= state->until_ns)
		return false;
	return now < state->fresh_until_ns || a->heard_ns < state->fresh_until_ns;
}

/* Somebody says that an address of ours is theirs. Own frames are no news: two uplinks may be on one subnet. */
static __always_inline void hear_claim(struct announced *a, const void *from)
{
	if (!mac_is_own(from))
		a->heard_ns = bpf_ktime_get_boot_ns();
}

/* Gives the buffer the answer, to be sent back where the question came from. */
static __always_inline bool write_announce(ctx_t *ctx, struct scratch *work, __u32 octets)
{
	if (!ctx_replace(ctx, work->reply, octets))
		return false;
	work->forward.hop = HOP_BACK;
	return true;
}

static __always_inline bool answer_arp(ctx_t *ctx, struct scratch *work)
{
	struct arp_frame *f = (struct arp_frame *)work->reply;
	struct announced *a;
	ip_addr addr;

	if (!ctx_load(ctx, 0, f, sizeof(*f)) || f->arp.hardware != bpf_htons(ARP_ETHERNET) ||
	    f->arp.protocol != bpf_htons(ETH_P_IP) || f->arp.hardware_octets != ETH_ALEN || f->arp.protocol_octets != 4)
		return false;
	/* who says another MAC than it sends from speaks for somebody else */
	if (!mac_is_unicast(&f->arp.sender_mac) || !mac_equal(&f->arp.sender_mac, (mac_addr *)f->eth.h_source))
		return false;
	addr = addr_v4(f->arp.sender);
	a = announced_find(ctx, &addr);
	if (a) {
		hear_claim(a, &f->arp.sender_mac);
		return false;
	}
	addr = addr_v4(f->arp.target);
	a = announced_find(ctx, &addr);
	if (f->arp.operation != bpf_htons(ARP_REQUEST) || !a || !is_announced(a))
		return false;
	f->arp.operation = bpf_htons(ARP_REPLY);
	f->arp.target = f->arp.sender;
	mac_copy(&f->arp.target_mac, &f->arp.sender_mac);
	mac_copy(f->eth.h_dest, &f->arp.sender_mac);
	f->arp.sender = addr.w[3];
	mac_copy(&f->arp.sender_mac, &a->mac);
	mac_copy(f->eth.h_source, &a->mac);
	return write_announce(ctx, work, sizeof(*f));
}

/* Are the options whole, and is the asker's MAC, where it says one, the one that it sends from? */
static __always_inline bool are_options_good(const __u8 *message, __u32 length, const struct packet *p,
					     const mac_addr *from)
{
	__u32 skipped = 0; /* slots that belong to an option before */

	for (__u32 at = NEIGHBOR_OCTETS; at < NEIGHBOR_MAX; at += NEIGHBOR_OPTION) {
		if (at >= length)
			break;
		if (skipped) {
			skipped--;
			continue;
		}
		if (!message[at + 1])
			return false;
		if (message[at] == OPTION_SOURCE_MAC &&
		    (addr_is_zero(&p->src) || !mac_equal((const mac_addr *)(message + at + 2), from)))
			return false;
		skipped = message[at + 1] - 1;
	}
	return !skipped;
}

/* Is an address that is being looked for as one that a host is about to take asked for by the group of those who may have it? */
static __always_inline bool is_solicited_node(const ip_addr *group, const ip_addr *target)
{
	return group->w[0] == bpf_htonl(0xff020000) && !group->w[1] && group->w[2] == bpf_htonl(1) &&
	       group->w[3] == (target->w[3] | bpf_htonl(0xff000000));
}

/* Copies the whole message. Each length is a call of its own: Linux 6.1 and 6.12 lose the bounds of one that is computed. */
static __always_inline bool load_neighbor(ctx_t *ctx, void *to, __u32 length)
{
	const __u32 at = L3 + sizeof(struct ipv6hdr);

	switch (length) {
	case NEIGHBOR_OCTETS:
		return ctx_load(ctx, at, to, NEIGHBOR_OCTETS);
	case NEIGHBOR_OCTETS + NEIGHBOR_OPTION:
		return ctx_load(ctx, at, to, NEIGHBOR_OCTETS + NEIGHBOR_OPTION);
	case NEIGHBOR_OCTETS + 2 * NEIGHBOR_OPTION:
		return ctx_load(ctx, at, to, NEIGHBOR_OCTETS + 2 * NEIGHBOR_OPTION);
	case NEIGHBOR_OCTETS + 3 * NEIGHBOR_OPTION:
		return ctx_load(ctx, at, to, NEIGHBOR_OCTETS + 3 * NEIGHBOR_OPTION);
	case NEIGHBOR_OCTETS + 4 * NEIGHBOR_OPTION:
		return ctx_load(ctx, at, to, NEIGHBOR_OCTETS + 4 * NEIGHBOR_OPTION);
	case NEIGHBOR_MAX:
		return ctx_load(ctx, at, to, NEIGHBOR_MAX);
	}
	return false;
}

/* Reads the whole message into work->options, the rest zeros; false: it is none that may be believed (RFC 4861 7.1). */
static __always_inline bool read_neighbor(ctx_t *ctx, struct scratch *work, struct ethhdr *eth)
{
	struct neighbor_message *m = (struct neighbor_message *)work->options;
	const struct packet *p = &work->packet;
	__u32 length = p->length;
	csum_t sum;

	if (p->ttl != LINK_HOPS || p->l4 != L3 + sizeof(struct ipv6hdr))
		return false;
	memset(work->options, 0, sizeof(work->options));
	if (!ctx_load(ctx, 0, eth, sizeof(*eth)) || !load_neighbor(ctx, work->options, length))
		return false;
	sum = csum_words(0, (const __be32 *)work->options, NEIGHBOR_MAX / 4);
	sum = csum_add_addr(csum_add_addr(sum, &p->src), &p->dst) + bpf_htonl(length) + bpf_htonl(IPPROTO_ICMPV6);
	return csum_16(sum) == 0xffff && !m->code && mac_is_unicast(eth->h_source) && !addr_is_multicast(&m->target);
}

/* The advertisement: to who asked, or to all, of who has no address yet. */
static __always_inline bool write_advertisement(ctx_t *ctx, struct scratch *work, const struct ethhdr *eth,
						const struct announced *a)
{
	const struct neighbor_message *asked = (const struct neighbor_message *)work->options;
	const ip_addr all_nodes = {.w = {bpf_htonl(0xff020000), 0, 0, bpf_htonl(1)}};
	const mac_addr all_macs = {0x33, 0x33, 0, 0, 0, 1};
	struct neighbor_frame *f = (struct neighbor_frame *)work->reply;
	bool is_nobody = addr_is_zero(&work->packet.src);
	ip_addr from = asked->target, to = is_nobody ? all_nodes : work->packet.src;
	__u32 octets = sizeof(*f) - sizeof(f->eth) - sizeof(f->ip);
	csum_t sum;

	memset(work->reply, 0, sizeof(work->reply));
	mac_copy(f->eth.h_dest, is_nobody ? &all_macs : (const mac_addr *)eth->h_source);
	mac_copy(f->eth.h_source, &a->mac);
	f->eth.h_proto = bpf_htons(ETH_P_IPV6);
	f->ip.version = 6;
	f->ip.payload_len = bpf_htons(octets);
	f->ip.nexthdr = IPPROTO_ICMPV6;
	f->ip.hop_limit = LINK_HOPS;
	memcpy(&f->ip.saddr, &from, sizeof(from));
	memcpy(&f->ip.daddr, &to, sizeof(to));
	f->message.type = NEIGHBOR_ADVERTISEMENT;
	f->message.flags = bpf_htonl((ADVERTISES_NEW | (is_nobody ? 0 : ADVERTISES_ASKED)) << 24);
	memcpy(&f->message.target, &from, sizeof(from));
	f->option = OPTION_TARGET_MAC;
	f->option_length = 1;
	mac_copy(&f->mac, &a->mac);
	/* the message begins at an octet that is even and no multiple of four: words of it are summed up where they are copied */
	memset(work->options, 0, sizeof(work->options));
	memcpy(work->options, &f->message, sizeof(*f) - sizeof(f->eth) - sizeof(f->ip));
	sum = csum_words(0, (const __be32 *)work->options, NEIGHBOR_MAX / 4);
	sum = csum_add_addr(csum_add_addr(sum, &from), &to) + bpf_htonl(octets) + bpf_htonl(IPPROTO_ICMPV6);
	f->message.checksum = ~csum_16(sum);
	return write_announce(ctx, work, sizeof(*f));
}

static __always_inline bool answer_neighbor(ctx_t *ctx, struct scratch *work)
{
	struct neighbor_message *m = (struct neighbor_message *)work->options;
	const struct packet *p = &work->packet;
	struct announced *a;
	struct ethhdr eth;

	if (!read_neighbor(ctx, work, &eth))
		return false;
	a = announced_find(ctx, &m->target);
	if (!a)
		return false;
	if (m->type == NEIGHBOR_ADVERTISEMENT) {
		hear_claim(a, eth.h_source);
		return false;
	}
	if (m->type != NEIGHBOR_SOLICITATION || !is_announced(a) || addr_is_multicast(&p->src) ||
	    addr_equal(&p->src, &m->target))
		return false;
	if (addr_is_zero(&p->src) && !is_solicited_node(&p->dst, &m->target))
		return false;
	if (!are_options_good(work->options, p->length, p, (const mac_addr *)eth.h_source))
		return false;
	return write_advertisement(ctx, work, &eth, a);
}

/* Answers what came in by an uplink and is of the link alone, if it asks for an address that this node announces. */
__noinline int announce_answer(ctx_t *ctx)
{
	struct scratch *work = scratch();

	if (!work || !ctx_is_for_us(ctx))
		return 0;
	if (work->packet.flags & PACKET_LINK)
		return answer_neighbor(ctx, work);
	return work->packet.ethertype == bpf_htons(ETH_P_ARP) && answer_arp(ctx, work);
}

#endif
