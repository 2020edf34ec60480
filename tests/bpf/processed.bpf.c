// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Gives a packet the processed mark, as a program of ours has put it there, for the program under test: a test run cannot. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* The program under test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

enum { CTX_PROCESSED = 0x5357 }; /* bpf/dp/packet/ctx_skb.h */

SEC("tc") int with_mark(struct __sk_buff *ctx)
{
	ctx->tc_index = CTX_PROCESSED;
	bpf_tail_call(ctx, &next, 0);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
