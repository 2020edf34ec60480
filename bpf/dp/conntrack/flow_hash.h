/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The hash by which a new flow's backend is chosen, alike on every node. */
#ifndef SLUICEWAY_FLOW_HASH_H
#define SLUICEWAY_FLOW_HASH_H

#include "dp/packet/hash.h"
#include "dp/packet/packet.h"

/* What an IPv4 packet's protocol makes of the hash: the first three words of both addresses are the same in all. */
static __always_inline __u32 flow_hash_v4(__u8 protocol)
{
	__u32 h = protocol;

#pragma unroll
	for (int i = 0; i < 4; i++)
		h = hash_word(h, 0);
	return hash_word(hash_word(h, 0xffff), 0xffff);
}

/* The hash of all but the addresses' last words and the ports; for most packets the compiler has worked it out. */
static __always_inline __u32 flow_hash_begin(const struct packet *p)
{
	__u32 h = p->protocol;

	if (p->flags & PACKET_V4 && h == IPPROTO_TCP)
		return flow_hash_v4(IPPROTO_TCP);
	if (p->flags & PACKET_V4 && h == IPPROTO_UDP)
		return flow_hash_v4(IPPROTO_UDP);
#pragma unroll
	for (int i = 0; i < 3; i++) {
		h = hash_word(h, bpf_ntohl(p->src.w[i]));
		h = hash_word(h, bpf_ntohl(p->dst.w[i]));
	}
	return h;
}

/* The hash that chooses a backend. */
static __always_inline __u32 flow_hash(const struct packet *p)
{
	__u32 h = flow_hash_begin(p);

	h = hash_word(h, bpf_ntohl(p->src.w[3]));
	h = hash_word(h, bpf_ntohl(p->dst.w[3]));
	h = hash_word(h, (__u32)bpf_ntohs(p->sport) << 16 | bpf_ntohs(p->dport));
	return hash_word(h, 0x85ebca6b);
}

#endif
