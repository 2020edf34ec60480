// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The pod's end of the veth of an interface with AF_XDP: gives packets to the sockets that the pod has there. Each interface has
 * this program and its maps for itself, so that no pod reaches another's sockets.
 *
 * It judges nothing: what comes here has passed the node's end (tc_pod.bpf.c). What the sockets are to have and none takes
 * ends here, so that the pod's stack never answers in an application's place.
 */
#define CTX_XDP

#include "dp/abi/xdp_pod.h"
#include "dp/packet/parse.h"

EXPORT_NUMBER(STEERING_RULES);
EXPORT_ENUM(steered);

const volatile struct steering_rule __export_steering_rule = {};

/* The first of them unused: sockets have all that is IP, but what the pod's stack says to its link. */
const volatile struct steering_rule steering[STEERING_RULES] = {};

enum { QUEUES = 64 };

/* The sockets, by queue: the application puts them in. As many as the interface has queues. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps") PER_INTERFACE;

/* Packets by enum steered. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEERED_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} steered SEC(".maps") PER_INTERFACE;

static __always_inline int counted(__u32 what, int verdict)
{
	__u64 *packets = bpf_map_lookup_elem(&steered, &what);

	if (packets)
		(*packets)++;
	return verdict;
}

/* Is a packet of a rule's? A datagram in fragments is the stack's, which alone puts it together. */
static __always_inline bool is_of(const struct packet *p, const volatile struct steering_rule *rule)
{
	__u16 port = bpf_ntohs(p->dport);

	return p->protocol == rule->protocol && port >= rule->first_port && port <= rule->last_port &&
	       !(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT));
}

/* Is it for the sockets? Neighbours and groups of the link are the stack's, as all that is not IP. */
static __always_inline bool is_for_sockets(const struct packet *p)
{
	if (p->flags & (PACKET_OTHER | PACKET_LINK))
		return false;
	if (!steering[0].protocol)
		return true;
	for (int i = 0; i < STEERING_RULES && steering[i].protocol; i++) {
		if (is_of(p, &steering[i]))
			return true;
	}
	return false;
}

SEC("xdp") int pod_xdp(ctx_t *ctx)
{
	struct packet p = {};

	if (parse(ctx, &p))
		return counted(STEERED_BAD, XDP_DROP);
	if (!is_for_sockets(&p))
		return counted(STEERED_STACK, XDP_PASS);
	if (bpf_redirect_map(&xsks_map, ctx_queue(ctx), XDP_DROP) == XDP_REDIRECT)
		return counted(STEERED_SOCKET, XDP_REDIRECT);
	return counted(STEERED_NOBODY, XDP_DROP);
}

char _license[] SEC("license") = "Dual BSD/GPL";
