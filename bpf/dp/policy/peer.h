/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The peer class of an address: by the attachment of a pod of this node, by the address of another, or by its range. */
#ifndef SLUICEWAY_PEER_H
#define SLUICEWAY_PEER_H

#include "dp/abi/peer.h"
#include "dp/abi/policy.h"
#include "dp/abi/prefix.h"
#include "dp/endpoint/location.h"

/* Pods of other nodes, and VFs, as far as rules mean them by their labels. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer_key);
	__type(value, struct peer_class);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} peers SEC(".maps") AGENT_WRITES(13) SIZED_BY(max_peers);

/* The ranges that rules name, and within them those they except. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct peer_class);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} peer_ranges SEC(".maps") AGENT_WRITES(11) SIZED_BY(max_prefixes);

/* What each class's number stands for. Written before what has the number, so that an agent knows each that is in use. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct policy_digest);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} peer_classes SEC(".maps") AGENT_WRITES(5) SIZED_BY(max_rules);

/* By the attachment's slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct pod_class);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} pod_classes SEC(".maps") AGENT_WRITES(9) SIZED_BY(max_endpoints);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct pod_policy);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} pod_policies SEC(".maps") AGENT_WRITES(14) SIZED_BY(max_endpoints);

/* Is a pod still where an end of a flow has it? Then what is read next of its slot goes with that revision, or is later. */
static __always_inline bool pod_is_at(const struct peer_location *at)
{
	if (!location_attachment(at))
		return false;
	fence_reads(); /* the revision is read, what was written before it is not */
	return true;
}

/* The policy of the pod where an end of a flow is; NULL: it is at none, or at a slot that is another's by now. */
static __always_inline const struct pod_policy *pod_policy_at(const struct peer_location *at)
{
	__u32 slot = at->slot;

	return pod_is_at(at) ? bpf_map_lookup_elem(&pod_policies, &slot) : NULL;
}

/* The class of an address in a network that is no pod's of this node. */
static __noinline __u32 peer_class_beyond(const ip_addr *addr, __u16 network)
{
	struct scratch *work = scratch();
	struct peer_class *class;

	if (!work)
		return 0;
	work->peer = (struct peer_key){.addr = *addr, .network = network};
	class = bpf_map_lookup_elem(&peers, &work->peer);
	if (class)
		return class->number;
	work->range = prefix_key_of(addr);
	class = bpf_map_lookup_elem(&peer_ranges, &work->range);
	return class ? class->number : 0;
}

/*
 * The class of an address that is where it was found to be. Whose it is at the node's devices, which are on the cluster's network,
 * says nothing of it in another.
 */
static __always_inline __u32 peer_class_of(const ip_addr *addr, const struct peer_location *at, __u16 network)
{
	const struct pod_class *pod;
	__u32 slot = at->slot;

	if (!slot || is_behind_pod(at) || network)
		return peer_class_beyond(addr, network);
	pod = pod_is_at(at) ? bpf_map_lookup_elem(&pod_classes, &slot) : NULL;
	if (!pod)
		return 0;
	return addr_is_v4(addr) ? pod->class4 : pod->class6;
}

#endif
