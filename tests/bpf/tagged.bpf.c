// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Gives a packet a VLAN tag as the kernel keeps it, beside the octets, for the program under test: a test run cannot. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { PRIORITY = 3 << 13, VLAN = 5 };

/* The program under test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} next SEC(".maps");

SEC("tc") int with_priority(struct __sk_buff *ctx)
{
	bpf_skb_vlan_push(ctx, bpf_htons(ETH_P_8021Q), PRIORITY);
	bpf_tail_call(ctx, &next, 0);
	return TC_ACT_SHOT;
}

SEC("tc") int with_vlan(struct __sk_buff *ctx)
{
	bpf_skb_vlan_push(ctx, bpf_htons(ETH_P_8021Q), PRIORITY | VLAN);
	bpf_tail_call(ctx, &next, 0);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
