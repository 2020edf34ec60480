// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The least that a program does to hand a packet from one pod to another: MACs, TTL, redirect_peer. It looks nothing up
 * and knows one way only, so what other programs cost above it is what their lookups and decisions cost.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct header {
	struct ethhdr eth;
	struct iphdr ip;
} __attribute__((packed));

const volatile __u32 device;  /* the node's end of the other pod's veth */
const volatile __u8 macs[12]; /* of the frame that the other pod gets: its own, then the node's */

SEC("tc") int floor_ingress(struct __sk_buff *ctx)
{
	struct header *h = (void *)(long)ctx->data;
	__u32 sum;

	if ((void *)(h + 1) > (void *)(long)ctx->data_end || h->eth.h_proto != bpf_htons(ETH_P_IP) || h->ip.ttl <= 1)
		return TC_ACT_OK;
	for (int i = 0; i < 12; i++)
		((__u8 *)h)[i] = macs[i];
	sum = h->ip.check + bpf_htons(0x0100); /* RFC 1624, for one less in the upper half of a word */
	h->ip.check = sum + (sum >> 16);
	h->ip.ttl--;
	return bpf_redirect_peer(device, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
