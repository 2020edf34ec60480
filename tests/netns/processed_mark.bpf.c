// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The processed mark, a packet's tc_index, as seen behind a node's own programs. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

enum { PROCESSED = 0x5357 }; /* CTX_PROCESSED in dp/packet/ctx.h */

/* The program under test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

/* Packets that left: without the processed mark, and with it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} left SEC(".maps");

/* Runs the program under test on a packet with the processed mark: a test run cannot give it a tc_index. */
SEC("tc") int with_mark(struct __sk_buff *ctx)
{
	ctx->tc_index = PROCESSED;
	bpf_tail_call(ctx, &next, 0);
	return TC_ACT_SHOT;
}

/* Counts behind our own program on the uplink's egress. */
SEC("tc") int count(struct __sk_buff *ctx)
{
	__u32 which = ctx->tc_index == PROCESSED;
	__u64 *packets = bpf_map_lookup_elem(&left, &which);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	return -1; /* TC_ACT_UNSPEC */
}

char _license[] SEC("license") = "Dual BSD/GPL";
