// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Around and beside uplink_xdp: fresh packets for it, what they are counted by at the end of a wire, and the bare program: one that
 * does the same look-ups and writes for a flow that passes through the node, and neither checks nor keeps anything up to date.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { HEADERS = 62 /* Ethernet, IPv6, UDP */, BACKENDS = 4, BEGIN = 1024 };

/* bench/xdp.py packs it. */
struct stream {
	__u32 ports; /* source ports from BEGIN on, round and round */
	__u32 step;
	__u32 at;
	__u32 sport_at; /* offset of the source port */
	__u32 expect_port;
	__u8 octets[HEADERS];
	__u8 pad[2];
};

struct addr {
	__u32 w[4];
};

struct bare_key {
	struct addr src;
	struct addr dst;
	__be16 sport;
	__be16 dport;
	__u32 protocol;
};

struct bare_flow {
	struct addr src;
	struct addr dst;
	__be16 sport;
	__be16 dport;
	__u8 macs[12];
	__u32 ifindex;
	__u32 seen;
	__u32 pad[3];
};

struct denied_key {
	__u32 bits;
	__u32 family;
	struct addr addr;
};

/* What the bare program knows of its one service, by family (4 at 0, 6 at 1). */
struct bare_service {
	struct addr own;
	struct addr backends[BACKENDS];
	__be16 port;
	__be16 pad;
	__u32 next; /* source port */
};

#define MAP(name, kind, entries, map_key, map_value, flags) \
	struct {                                            \
		__uint(type, BPF_MAP_TYPE_##kind);          \
		__uint(max_entries, entries);               \
		__uint(map_flags, flags);                   \
		__type(key, map_key);                       \
		__type(value, map_value);                   \
	} name SEC(".maps")

MAP(streams, ARRAY, 1, __u32, struct stream, 0);
MAP(arrivals, PERCPU_ARRAY, 2, __u32, __u64, 0);
MAP(denied, LPM_TRIE, 131072, struct denied_key, __u32, BPF_F_NO_PREALLOC);
MAP(bare_flows, HASH, 262144, struct bare_key, struct bare_flow, 0);
MAP(bare_services, HASH, 65536, struct bare_key, struct bare_service, 0);
MAP(counted, PERCPU_ARRAY, 1, __u32, __u64, 0);

/* What a flow's copy has to be asked beside it: the node, an epoch, a set's revision, when, and its next hop. */
MAP(asked, ARRAY, 65536, __u32, struct bare_flow, 0);
MAP(work, PERCPU_ARRAY, 1, __u32, struct bare_flow, 0);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

static __always_inline void count(void *map, __u32 index)
{
	__u64 *n = bpf_map_lookup_elem(map, &index);

	if (n)
		++*n;
}

/* BPF_PROG_TEST_RUN hands every repetition what the one before left of the packet: this makes it a fresh one. */
SEC("xdp.frags") int fresh(struct xdp_md *ctx)
{
	__u32 zero = 0, at;
	struct stream *s = bpf_map_lookup_elem(&streams, &zero);

	if (!s)
		return XDP_ABORTED;
	at = s->at + s->step;
	s->at = at < s->ports ? at : at - s->ports;
	at = s->sport_at;
	if (at > HEADERS - 2)
		return XDP_ABORTED;
	*(__be16 *)(s->octets + at) = bpf_htons(BEGIN + s->at);
	if (bpf_xdp_store_bytes(ctx, 0, s->octets, HEADERS))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

/* What fresh() costs by itself. */
SEC("xdp.frags") int nothing(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

/* The end of the wire: IPv4 datagrams to the port that backends have, and others. */
SEC("xdp") int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct udphdr *udp = data + ETH_HLEN + sizeof(struct iphdr);
	struct iphdr *ip = data + ETH_HLEN;
	__u32 zero = 0;
	struct stream *s = bpf_map_lookup_elem(&streams, &zero);

	if (!s || (void *)(udp + 1) > (void *)(long)ctx->data_end || ip->version != 4 || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	count(&arrivals, udp->dest != bpf_htons(s->expect_port));
	return XDP_DROP;
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u64 difference(const struct bare_key *k, const struct bare_flow *f)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~k->src.w[i] + f->src.w[i] + (__u32)~k->dst.w[i] + f->dst.w[i];
	return sum;
}

/* Has a socket of the node the address and port that the flow is to have? */
static __noinline bool bare_is_taken(struct xdp_md *ctx, const struct bare_flow *f, bool v4)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;

	if (v4) {
		t.ipv4.saddr = f->dst.w[3];
		t.ipv4.daddr = f->src.w[3];
		t.ipv4.sport = f->dport;
		t.ipv4.dport = f->sport;
	} else {
		__builtin_memcpy(t.ipv6.saddr, &f->dst, sizeof(f->dst));
		__builtin_memcpy(t.ipv6.daddr, &f->src, sizeof(f->src));
		t.ipv6.sport = f->dport;
		t.ipv6.dport = f->sport;
	}
	sk = bpf_sk_lookup_udp(ctx, &t, v4 ? sizeof(t.ipv4) : sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (sk)
		bpf_sk_release(sk);
	return sk;
}

/* Do so many records say that the flow's copy holds? They do: nobody writes them. */
static __always_inline bool bare_holds(const struct bare_key *k)
{
	__u32 sum = bpf_jiffies64() == 1;

#pragma unroll
	for (__u32 i = 0; i < 5; i++) {
		__u32 index = i < 4 ? i : bpf_ntohs(k->sport);
		struct bare_flow *r = bpf_map_lookup_elem(&asked, &index);

		sum += r ? r->seen : 1;
	}
	return !sum;
}

/* Begins a flow to the service that the key names: its way, and both of its entries. */
static __noinline struct bare_flow *bare_begin(struct xdp_md *ctx, const struct bare_key *k, bool v4)
{
	struct bare_key asked = {.dst = k->dst, .dport = k->dport, .protocol = k->protocol}, back = {};
	struct bare_service *s = bpf_map_lookup_elem(&bare_services, &asked);
	struct bpf_fib_lookup way = {.ifindex = ctx->ingress_ifindex, .l4_protocol = k->protocol, .tot_len = 100};
	struct bare_flow there = {}, answer = {};

	if (!s)
		return NULL;
	there.src = s->own;
	there.dst = s->backends[(k->src.w[3] * 31 + k->sport) % BACKENDS];
	there.sport = bpf_htons(BEGIN + s->next++ % 60000);
	there.dport = s->port;
	way.family = v4 ? 2 : 10;
	if (v4) {
		way.ipv4_src = k->src.w[3];
		way.ipv4_dst = there.dst.w[3];
	} else {
		__builtin_memcpy(way.ipv6_src, &k->src, sizeof(k->src));
		__builtin_memcpy(way.ipv6_dst, &there.dst, sizeof(there.dst));
	}
	if (bpf_fib_lookup(ctx, &way, sizeof(way), BPF_FIB_LOOKUP_SRC) || bare_is_taken(ctx, &there, v4))
		return NULL;
	__builtin_memcpy(there.macs, way.dmac, 6);
	__builtin_memcpy(there.macs + 6, way.smac, 6);
	there.ifindex = way.ifindex;
	back.src = there.dst;
	back.dst = there.src;
	back.sport = there.dport;
	back.dport = there.sport;
	back.protocol = k->protocol;
	answer.src = k->dst;
	answer.dst = k->src;
	answer.sport = k->dport;
	answer.dport = k->sport;
	if (bpf_map_update_elem(&bare_flows, &back, &answer, BPF_ANY) ||
	    bpf_map_update_elem(&bare_flows, k, &there, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&bare_flows, k);
}

static __always_inline void read_v4(struct iphdr *ip, struct bare_key *k)
{
	k->src.w[2] = k->dst.w[2] = bpf_htonl(0xffff);
	k->src.w[3] = ip->saddr;
	k->dst.w[3] = ip->daddr;
	k->protocol = ip->protocol;
}

static __always_inline void write_v4(struct iphdr *ip, const struct bare_flow *f, __u64 diff)
{
	ip->check = ~fold(diff + (__u16)~ip->check + (__u16)~bpf_htons(0x0100));
	ip->ttl--;
	ip->saddr = f->src.w[3];
	ip->daddr = f->dst.w[3];
}

/* Translates a datagram of a flow that passes through, and sends it back. */
SEC("xdp.frags") int bare(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip4 = data + ETH_HLEN;
	struct ipv6hdr *ip6 = data + ETH_HLEN;
	struct denied_key from = {.bits = 160};
	struct bare_flow *f, *scratch;
	struct bare_key k = {};
	__u32 zero = 0;
	struct udphdr *udp;
	__u64 diff;
	bool v4;

	if ((void *)(ip4 + 1) > end)
		return XDP_PASS;
	v4 = eth->h_proto == bpf_htons(ETH_P_IP);
	udp = v4 ? (void *)(ip4 + 1) : (void *)(ip6 + 1);
	if (v4) {
		read_v4(ip4, &k);
	} else if ((void *)(ip6 + 1) <= end) {
		__builtin_memcpy(&k.src, &ip6->saddr, sizeof(k.src));
		__builtin_memcpy(&k.dst, &ip6->daddr, sizeof(k.dst));
		k.protocol = ip6->nexthdr;
	}
	barrier_var(udp);
	if ((void *)(udp + 1) > end || k.protocol != IPPROTO_UDP)
		return XDP_PASS;
	k.sport = udp->source;
	k.dport = udp->dest;
	from.family = v4 ? 4 : 6;
	from.addr = k.src;
	if (bpf_map_lookup_elem(&denied, &from))
		return XDP_DROP;
	scratch = bpf_map_lookup_elem(&work, &zero);
	f = bpf_map_lookup_elem(&bare_flows, &k);
	if (f && !bare_holds(&k))
		return XDP_PASS;
	if (!f)
		f = bare_begin(ctx, &k, v4);
	if (!f || f->ifindex != ctx->ingress_ifindex || !scratch)
		return XDP_PASS;
	*scratch = *f;
	f->seen++;
	/* once more: the compiler makes one check of two, of which the verifier learns the weaker */
	barrier_var(udp);
	if ((void *)(udp + 1) > end)
		return XDP_PASS;
	diff = difference(&k, f);
	if (v4) {
		write_v4(ip4, f, diff);
	} else if ((void *)(ip6 + 1) <= end) {
		__builtin_memcpy(&ip6->saddr, &f->src, sizeof(f->src));
		__builtin_memcpy(&ip6->daddr, &f->dst, sizeof(f->dst));
		ip6->hop_limit--;
	}
	diff += (__u16)~k.sport + (__u64)f->sport + (__u16)~k.dport + f->dport;
	if (udp->check)
		udp->check = ~fold(diff + (__u16)~udp->check);
	udp->source = f->sport;
	udp->dest = f->dport;
	__builtin_memcpy(eth, f->macs, sizeof(f->macs));
	count(&counted, 0);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
