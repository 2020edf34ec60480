/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How much a pod may send and be sent. What is too much is dropped; what leaves by a device whose queue keeps time (fq)
 * is given the time at which it may, and so waits there instead.
 */
#ifndef SLUICEWAY_LIMIT_H
#define SLUICEWAY_LIMIT_H

#include "dp/abi/limit.h"
#include "dp/endpoint/fib.h"
#include "dp/packet/packet.h"
#include "dp/endpoint/prefix.h"
#include "dp/packet/segment.h"

/* By an attachment's slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct attachment_limits);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} limits SEC(".maps") AGENT_WRITES(10) SIZED_BY(max_endpoints);

/* The node's devices whose queue sends each packet when its time has come (fq), by ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct paced_device);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} paced_devices SEC(".maps") AGENT_WRITES(12);

static __always_inline struct attachment_limits *limits_at(__u32 slot)
{
	return bpf_map_lookup_elem(&limits, &slot);
}

/* Has the node a flag set? Most have no pod with a limit, and look no further. */
static __always_inline bool limits_have(enum node_flag flag)
{
	const struct node *n = node_now();

	return n && n->flags & flag;
}

/* Octets of all the frames that a GSO packet will be. */
static __always_inline __u32 wire_octets(const ctx_t *ctx, const struct packet *p)
{
	__u32 headers = segment_headers(ctx, p), segments;

	if (!headers || headers >= ctx_length(ctx))
		return ctx_length(ctx);
	segments = (ctx_length(ctx) - headers + ctx_gso_size(ctx) - 1) / ctx_gso_size(ctx);
	return ctx_length(ctx) + (segments - 1) * headers;
}

/*
 * The time from which on the octets keep to the rate, or 0 when they are too many. CPUs share the limit without a
 * lock: where two find room at once both have it, and at_ns counts both.
 */
static __always_inline __u64 limit_take(struct limit *l, __u32 octets)
{
	__u64 now = bpf_ktime_get_ns(), at = *(volatile __u64 *)&l->at_ns;

	if (at > now + l->burst_ns)
		return 0;
	if (at < now) /* who is overtaken here finds it moved already */
		__sync_val_compare_and_swap(&l->at_ns, at, now);
	return __sync_fetch_and_add(&l->at_ns, octets * 8000000000ULL / l->rate);
}

/* Charges what is on its way to a pod. */
__noinline int limit_ingress(ctx_t *ctx, const struct packet *p, __u32 slot)
{
	struct attachment_limits *l = limits_at(slot);

	if (!p || !l || !l->ingress.rate)
		return DROP_NONE;
	return limit_take(&l->ingress, wire_octets(ctx, p)) ? DROP_NONE : DROP_INGRESS_LIMIT;
}

/* Does what goes there, itself (remote_id 0) or encapsulated, leave by a device that keeps time? */
static __always_inline bool is_paced(ctx_t *ctx, const struct packet *p, __u32 remote_id)
{
	struct remote *remote = remote_find(remote_id);
	const struct scratch *work = scratch();
	const ip_addr none = {}, *src, *dst = &p->dst;
	__u32 ifindex;

	if (!work || p->flags & PACKET_OTHER || addr_is_multicast(&p->dst) || (remote_id && !remote))
		return false;
	src = way_source(work, p);
	if (remote) {
		src = &none;
		dst = &remote->addr;
	}
	ifindex = fib_device(ctx, src, dst, p->protocol);
	return bpf_map_lookup_elem(&paced_devices, &ifindex);
}

/* Charges what a pod sends; beyond says that it is for no pod of this node. */
__noinline int limit_egress(ctx_t *ctx, const struct packet *p, __u32 slot, bool beyond, __u32 remote_id)
{
	struct attachment_limits *l = limits_at(slot);
	__u64 at;

	if (!p || !l || !l->egress.rate)
		return DROP_NONE;
	at = limit_take(&l->egress, wire_octets(ctx, p));
	if (!at)
		return DROP_EGRESS_LIMIT;
	if (beyond && limits_have(NODE_PACED) && is_paced(ctx, p, remote_id))
		ctx_send_at(ctx, at);
	return DROP_NONE;
}

#endif
