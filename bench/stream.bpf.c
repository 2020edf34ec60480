// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * A stream of fresh packets, for the programs under measurement: bench/stream.py says which. One packet is like the one
 * before but for its source port and destination, which walk over so many flows.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum {
	HEADERS = 54, /* Ethernet, IPv4, TCP, each without options; of UDP the payload begins before */
	AT_DST = ETH_HLEN + offsetof(struct iphdr, daddr),
	AT_SPORT = ETH_HLEN + sizeof(struct iphdr),
	AT_DPORT = AT_SPORT + 2,
	AT_UDP_CHECK = AT_SPORT + offsetof(struct udphdr, check),
};

/* So many numbers from the first on, round and round. */
struct round {
	__u32 end; /* how many */
	__u32 first;
	__u32 at;   /* of the last packet, counted from the first */
	__u32 step; /* below end */
};

/* bench/stream.py packs it. */
struct stream {
	struct round ports; /* of the source */
	struct round hosts; /* destinations */
	__u32 device;	    /* generate(): redirects there */
	__u32 expect_dst;   /* sink(): of every packet that arrives, as it stands there */
	__u32 check;	    /* UDP: the sum of all but the source port, not complemented */
	__u16 expect_port;
	__u8 octets[HEADERS]; /* two before a multiple of four, so the addresses are aligned */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stream);
} streams SEC(".maps");

/* What came through: as expected, and not. */
struct arrivals {
	__u64 right;
	__u64 wrong;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arrivals);
} arrivals SEC(".maps");

/* The program under measurement. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

static __always_inline __u32 walk(struct round *r)
{
	__u32 at = r->at + r->step;

	r->at = at < r->end ? at : at - r->end;
	return r->first + r->at;
}

/* The stream, its octets those of the next packet. */
static __always_inline struct stream *stream_next(void)
{
	__u32 zero = 0;
	struct stream *s = bpf_map_lookup_elem(&streams, &zero);

	if (!s)
		return NULL;
	if (s->ports.end > 1)
		*(__be16 *)(s->octets + AT_SPORT) = bpf_htons(walk(&s->ports));
	if (s->hosts.end > 1)
		*(__be32 *)(s->octets + AT_DST) = bpf_htonl(walk(&s->hosts));
	return s;
}

/* BPF_PROG_TEST_RUN hands every repetition what the one before left of the packet: this makes it a fresh one. */
SEC("tc") int fresh(struct __sk_buff *ctx)
{
	struct stream *s = stream_next();

	if (!s || bpf_skb_store_bytes(ctx, 0, s->octets, HEADERS, 0))
		return TC_ACT_SHOT;
	bpf_tail_call(ctx, &next, 0);
	return TC_ACT_SHOT;
}

/* What fresh() costs by itself. */
SEC("tc") int nothing(struct __sk_buff *ctx)
{
	(void)ctx;
	return TC_ACT_OK;
}

/* Frames out of nowhere, by BPF_F_TEST_XDP_LIVE_FRAMES, through a device: its other end receives them. */
SEC("xdp") int generate(struct xdp_md *ctx)
{
	struct stream *s = stream_next();
	void *data = (void *)(long)ctx->data;
	__u32 sum;

	if (!s || data + HEADERS > (void *)(long)ctx->data_end)
		return XDP_DROP;
	sum = s->check + bpf_ntohs(*(__be16 *)(s->octets + AT_SPORT));
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*(__be16 *)(s->octets + AT_UDP_CHECK) = bpf_htons(~sum);
	__builtin_memcpy(data, s->octets, HEADERS);
	return bpf_redirect(s->device, 0);
}

/* On the device that receives them, which takes no generated frames unless it has an XDP program. */
SEC("xdp") int take(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

/* Where they end: at the pod's own device. Everything else passes. */
SEC("tc") int sink(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct arrivals *a = bpf_map_lookup_elem(&arrivals, &zero);
	struct stream *s = bpf_map_lookup_elem(&streams, &zero);
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + ETH_HLEN;

	if (!a || !s || data + HEADERS > (void *)(long)ctx->data_end || ip->protocol != IPPROTO_UDP)
		return TC_ACT_OK;
	if (ip->daddr == s->expect_dst && *(__be16 *)(data + AT_DPORT) == s->expect_port)
		a->right++;
	else
		a->wrong++;
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
