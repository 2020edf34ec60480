// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What the hooks of a node tell each other by a packet's tc_index, seen from outside. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

enum { JUDGED = 0x5357 }; /* CTX_PROCESSED in dp/packet/ctx.h */

/* The program that is tried. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

/* Packets that left: not judged before, and judged. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} left SEC(".maps");

/* Runs the other program on a packet that was judged: a test run cannot give it a tc_index. */
SEC("tc") int after_judgement(struct __sk_buff *ctx)
{
	ctx->tc_index = JUDGED;
	bpf_tail_call(ctx, &next, 0);
	return TC_ACT_SHOT;
}

/* Behind our own program on the uplink's egress. */
SEC("tc") int look(struct __sk_buff *ctx)
{
	__u32 which = ctx->tc_index == JUDGED;
	__u64 *packets = bpf_map_lookup_elem(&left, &which);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	return -1; /* TC_ACT_UNSPEC */
}

char _license[] SEC("license") = "Dual BSD/GPL";
