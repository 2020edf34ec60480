/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What translation changes in SCTP (RFC 9260): ports, the checksum over all that a packet carries, and what an end says of its addresses. */
#ifndef SLUICEWAY_SCTP_H
#define SLUICEWAY_SCTP_H

#include "dp/packet/crc32c.h"
#include "dp/packet/csum.h"
#include "dp/packet/parse.h"
#include "dp/packet/scratch.h"

enum {
	SCTP_PARAMETERS = 8, /* of an INIT that are looked at: Linux says the addresses first */
	SCTP_INIT_OCTETS = sizeof(struct sctp_header) + sizeof(struct sctp_chunk) +
			   16, /* before the first of them (RFC 9260 3.3.2) */
	SCTP_IPV4 = 5,
	SCTP_IPV6 = 6,
	SCTP_PAD = 0x8005, /* nobody looks at what is in it (RFC 4820 4) */
};

struct sctp_parameter {
	__be16 type;
	__be16 length; /* with these four octets, without what fills it up to a multiple of four */
};

/* Two words of two octets, as a sum takes them in. */
static __always_inline __u32 sctp_word(__be16 first, __be16 second)
{
	return crc32c_word(bpf_htonl((__u32)bpf_ntohs(first) << 16 | bpf_ntohs(second)));
}

/*
 * Is the checksum left to whoever sends the packet by a wire, and none yet? Where the kernel does not say so of a packet, the field does:
 * Linux leaves zero in it, and a sum is that once in 2^32.
 */
static __always_inline bool is_sctp_sum_left(ctx_t *ctx, __le32 checksum)
{
	enum ctx_sum sum = ctx_sum(ctx, false);

	return sum == CTX_SUM_PARTIAL || (sum == CTX_SUM_OTHER && !checksum);
}

/*
 * Makes padding of the other addresses that an INIT or INIT ACK says its sender has: past a translation they lead to an end that knows of
 * no such association, and would end the one that there is. Returns what that adds to the checksum. The place read next is kept in memory,
 * of which the verifier knows nothing: it would follow each way through the parameters.
 */
__noinline __u32 sctp_hide_addresses(ctx_t *ctx, const struct packet *p)
{
	const __be16 pad = bpf_htons(SCTP_PAD);
	struct scratch *work = scratch();
	struct sctp_parameter found;
	volatile __u32 *next;
	__u32 sum = 0;

	if (!p || !work)
		return 0;
	next = &work->option;
	*next = SCTP_INIT_OCTETS;
	for (int i = 0; i < SCTP_PARAMETERS; i++) {
		__u32 at = *next, octets;

		if (at + sizeof(found) > p->length || !ctx_load(ctx, p->l4 + at, &found, sizeof(found)))
			break;
		octets = bpf_ntohs(found.length);
		if (octets < sizeof(found))
			break;
		*next = at + ((octets + 3) & ~3U);
		if (found.type != bpf_htons(SCTP_IPV4) && found.type != bpf_htons(SCTP_IPV6))
			continue;
		if (ctx_store_summed(ctx, p->l4 + at, &pad, sizeof(pad)))
			sum ^= crc32c_change(sctp_word(found.type ^ pad, 0), p->length - at);
	}
	return sum;
}

/* Does the packet say which addresses its sender has? */
static __always_inline bool says_addresses(const ctx_t *ctx, const struct packet *p)
{
	const struct sctp_chunk *chunk = transport_at(ctx, p->l4 + sizeof(struct sctp_header), sizeof(*chunk));

	return p->flags & PACKET_OPENS && chunk && (chunk->type == SCTP_INIT || chunk->type == SCTP_INIT_ACK);
}

/*
 * Gives an SCTP packet the tuple's ports, with its checksum right, of which addresses are no part. A sum of the whole packet that the
 * kernel trusts (CHECKSUM_COMPLETE) follows. Of a datagram in fragments nobody knows yet how long it is.
 */
static __noinline enum drop_reason write_sctp(ctx_t *ctx, const struct packet *p, const struct tuple *t)
{
	__u32 change = sctp_word(p->sport ^ t->sport, p->dport ^ t->dport), added = 0;
	struct sctp_header *sctp;
	csum_t diff;
	__le32 sum;

	if (says_addresses(ctx, p))
		added = sctp_hide_addresses(ctx, p);
	sctp = transport_at(ctx, p->l4, sizeof(*sctp));
	if (!sctp)
		return DROP_REWRITE;
	if (!(change | added))
		return DROP_NONE;
	sum = sctp->checksum;
	if (!is_sctp_sum_left(ctx, sum)) {
		if (p->flags & PACKET_FIRST_FRAGMENT)
			return DROP_SCTP_FRAGMENT;
		sum ^= crc32c_octets(crc32c_change(change, p->length) ^ added);
	}
	diff = csum_replace(0, p->sport, t->sport);
	diff = csum_replace(diff, p->dport, t->dport);
	diff = csum_replace(diff, sctp->checksum, sum);
	sctp->source = t->sport;
	sctp->dest = t->dport;
	sctp->checksum = sum;
	ctx_csum_complete(ctx, csum_32(diff));
	return DROP_NONE;
}

#endif
