/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* IP headers of our own: before what is encapsulated, and of what we tell a packet's sender. */
#ifndef SLUICEWAY_HEADER_H
#define SLUICEWAY_HEADER_H

#include "dp/packet/csum.h"
#include "dp/packet/parse.h"

enum {
	OWN_TTL = 64,
	IP_DF = 0x4000,
};

static __always_inline __u32 header_size(bool v4)
{
	return v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* IP's length field, as far as 16 bits say it: for longer packets 0, as the kernel has it for GSO packets. */
static __always_inline __be16 length_field(__u32 octets)
{
	return octets > 0xffff ? 0 : bpf_htons(octets);
}

static __always_inline bool write_header_v4(ctx_t *ctx, const ip_addr *from, const ip_addr *to, __u32 octets,
					    __u8 protocol, __u16 fragment)
{
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .tot_len = length_field(sizeof(ip) + octets),
			   .frag_off = bpf_htons(fragment),
			   .ttl = OWN_TTL,
			   .protocol = protocol,
			   .saddr = from->w[3],
			   .daddr = to->w[3]};

	ip.check = ~csum_16(csum_words(0, (const __be32 *)&ip, sizeof(ip) / 4));
	return ctx_store_summed(ctx, L3, &ip, sizeof(ip));
}

static __always_inline bool write_header_v6(ctx_t *ctx, const ip_addr *from, const ip_addr *to, __u32 octets,
					    __u8 protocol)
{
	struct ipv6hdr ip = {
		.version = 6, .payload_len = length_field(octets), .nexthdr = protocol, .hop_limit = OWN_TTL};

	memcpy(&ip.saddr, from, sizeof(*from));
	memcpy(&ip.daddr, to, sizeof(*to));
	return ctx_store_summed(ctx, L3, &ip, sizeof(ip));
}

#endif
