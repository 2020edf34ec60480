// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The datapath's hooks and some of its maps with programs that do nothing but count: what loading and moving is tried on. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "dp/abi/flow.h"
#include "dp/config.h"

/* whole in BTF only where something is of these types */
const volatile struct flow_key __export_flow_key = {};
const volatile struct flow __export_flow = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 7);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_bucket);
} flow_buckets SEC(".maps") PRIVATE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_entry);
} flows SEC(".maps") PROGRAMS_WRITE IN_BUCKETS(flow_buckets) CARRIED;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_seed);
} flow_seeds SEC(".maps") PROGRAMS_WRITE;

/* Only the programs know it; WORDS tells one build's from another's. */
struct copy {
	__u32 words[WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct copy);
} copies SEC(".maps") PRIVATE;

/* Counts in the node's revision; VERSION tells one build of the program from another. */
static __always_inline int count(void)
{
	__u32 zero = 0;
	struct node *n = bpf_map_lookup_elem(&node, &zero);
	struct copy *copy = bpf_map_lookup_elem(&copies, &zero);

	if (n)
		__sync_fetch_and_add(&n->revision, VERSION);
	if (copy)
		copy->words[WORDS - 1] = VERSION;
	return TCX_NEXT;
}

#define HOOK(section, name)                          \
	SEC(section) int name(struct __sk_buff *skb) \
	{                                            \
		(void)skb;                           \
		return count();                      \
	}

HOOK("tc", pod_ingress)
HOOK("tc", pod_egress)
HOOK("tc", uplink_ingress)
HOOK("tc", uplink_egress)
HOOK("tc", stranger)

SEC("xdp.frags") int uplink_xdp(struct xdp_md *ctx)
{
	(void)ctx;
	count();
	return XDP_PASS;
}

#define SOCKET(name)                             \
	SEC("cgroup/" #name) int name(void *ctx) \
	{                                        \
		(void)ctx;                       \
		return 1;                        \
	}

SOCKET(connect4)
SOCKET(connect6)
SOCKET(sendmsg4)
SOCKET(sendmsg6)
SOCKET(recvmsg4)
SOCKET(recvmsg6)
SOCKET(getpeername4)
SOCKET(getpeername6)
SOCKET(sock_create)
SOCKET(sock_release)

SEC("syscall") int gc_start(void *ctx)
{
	(void)ctx;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
