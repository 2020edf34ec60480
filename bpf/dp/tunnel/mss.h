/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* TCP hears with its first segment what the tunnel carries (RFC 9293 3.7.1). */
#ifndef SLUICEWAY_MSS_H
#define SLUICEWAY_MSS_H

#include "dp/tunnel/tunnel.h"

enum {
	TCP_OPTIONS = 40, /* octets at most: a header has 60 */
	TCP_OPTION_END = 0,
	TCP_OPTION_NONE = 1,
	TCP_OPTION_MSS = 2,
	TCP_OPTION_MSS_LENGTH = 4,
};

/*
 * Where the option behind one begins, of so many octets of them; its own place where it is the maximum segment size, negative where
 * nothing follows. A function of its own: of what it returns the verifier knows nothing, which would follow each of 2^40 ways through the
 * options.
 */
__noinline int mss_next(__u32 at, __u32 octets)
{
	const struct scratch *work = scratch();
	const __u8 *option;

	if (!work || at + TCP_OPTION_MSS_LENGTH > octets)
		return -1;
	option = &work->options[at & (sizeof(work->options) - 1)];
	if (option[0] == TCP_OPTION_NONE)
		return at + 1;
	if (option[0] == TCP_OPTION_MSS)
		return option[1] == TCP_OPTION_MSS_LENGTH ? (int)at : -1;
	return option[0] == TCP_OPTION_END || option[1] < 2 ? -1 : (int)at + option[1];
}

/* Where the maximum segment size stands in the frame; 0: the segment has none. */
static __noinline __u32 mss_find(ctx_t *ctx, const struct packet *p)
{
	struct scratch *work = scratch();
	struct tcphdr tcp;
	__u32 octets;
	int at = 0;

	if (!work || !ctx_load(ctx, p->l4, &tcp, sizeof(tcp)))
		return 0;
	octets = tcp.doff * 4 - sizeof(tcp);
	if (octets < TCP_OPTION_MSS_LENGTH)
		return 0;
	barrier_var(octets);
	if (octets > TCP_OPTIONS || !ctx_load(ctx, p->l4 + sizeof(tcp), work->options, octets))
		return 0;
	for (int i = 0; i < TCP_OPTIONS; i++) {
		int next = mss_next(at, octets);

		if (next == at)
			return p->l4 + sizeof(tcp) + at + 2;
		if (next < 0)
			return 0;
		at = next;
	}
	return 0;
}

/*
 * Lets a segment that opens a connection promise no more than the tunnel carries. A SYN from outside knows of the
 * client's link alone, and the answer to it of the server's.
 */
__noinline int mss_clamp(ctx_t *ctx, const struct packet *p)
{
	__u32 mtu = 0, headers, at;
	__be16 old, new;
	csum_t diff;

	if (!p)
		return DROP_NONE;
	fits_tunnel_mtu(ctx, &mtu);
	headers = sizeof(struct tcphdr) + (p->flags & PACKET_V4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	at = mss_find(ctx, p);
	if (!at || mtu <= headers || !ctx_load(ctx, at, &old, sizeof(old)) || bpf_ntohs(old) <= mtu - headers)
		return DROP_NONE;
	new = bpf_htons(mtu - headers);
	diff = csum_replace(0, old, new);
	if ((at - p->l4) & 1) /* its octets stand in two words */
		diff = csum_replace(0, __builtin_bswap16(old), __builtin_bswap16(new));
	if (!ctx_store(ctx, at, &new, sizeof(new)) ||
	    !ctx_csum_add(ctx, p->l4 + offsetof(struct tcphdr, check), csum_32(diff), false, false))
		return DROP_REWRITE;
	return DROP_NONE;
}

#endif
