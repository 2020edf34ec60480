/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Judges who may speak to whom: the sender's egress rules and the receiver's ingress rules, each where the pod is on this node.
 * Asked when a flow begins, and again when an end of it has another revision; of what has no flow, with every packet.
 */
#ifndef SLUICEWAY_POLICY_H
#define SLUICEWAY_POLICY_H

#include "dp/abi/policy.h"
#include "dp/policy/peer.h"
#include "dp/policy/rule.h"

/* By policy * DIRECTIONS + direction. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_POLICIES *DIRECTIONS);
	__type(key, __u32);
	__type(value, struct policy_counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} policy_counters SEC(".maps") PROGRAMS_WRITE;

static __always_inline bool policy_is_on(void)
{
	const struct node *n = node_now();

	return n && n->flags & NODE_POLICY;
}

static __always_inline void policy_count(const struct judgement *j, enum direction direction, bool audited)
{
	__u32 index = j->policy * DIRECTIONS + direction;
	struct policy_counter *c = bpf_map_lookup_elem(&policy_counters, &index);

	if (!c)
		return;
	if (j->verdict == POLICY_ACCEPT)
		c->accepted++;
	else if (audited)
		c->audited++;
	else
		c->denied++;
}

/* Why a pod's rules of one direction do not let pass what is to or from a peer; DROP_NONE: they do. */
__noinline int policy_judge(const struct pod_policy *pod, bool is_egress)
{
	enum direction direction = is_egress ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	struct scratch *work = scratch();
	const struct policy_question *q;
	const struct rule *rule;
	enum drop_reason why;
	struct judgement j;
	__u16 number, network;
	bool audited;
	__u32 class;

	if (!pod || !work)
		return DROP_POLICY_UNKNOWN;
	q = &work->question;
	number = is_egress ? pod->egress : pod->ingress;
	network = IS_AT_VF ? pod->network : 0;
	audited = pod->flags & POLICY_AUDITED;
	if (number == RULES_UNKNOWN)
		return DROP_POLICY_UNKNOWN;
	class = is_egress ? peer_class_of(&q->server, &q->server_at, network)
			  : peer_class_of(&q->client, &q->client_at, network);
	rule = rule_find(number, class);
	if (!rule)
		return DROP_POLICY_UNKNOWN;
	rule_judge(rule, q->protocol, q->port, &j);
	policy_count(&j, direction, audited);
	if (j.verdict == POLICY_ACCEPT)
		return DROP_NONE; /* what was audited in the other direction keeps its policy */
	work->policy = j.policy;
	why = is_egress ? DROP_POLICY_EGRESS : DROP_POLICY_INGRESS;
	if (!audited)
		return why;
	work->forward.audited = why;
	return DROP_NONE;
}

/*
 * Is it this node that asks? It always reaches its pods, by whichever of its addresses; but not by the wire, where anybody may have
 * them.
 */
static __always_inline bool is_own_node(const struct policy_question *q)
{
	if (IS_AT_VF)
		return false;
	return q->client_at.remote_id == REMOTE_SELF || addr_is_loopback(&q->client);
}

/*
 * Judges the question in this CPU's scratch, as far as programs here speak for the ends. A pod always reaches itself. Who is at a slot that is another's by now may do
 * nothing: what it may is said under the new revision.
 */
__noinline int policy_check(void)
{
	const struct pod_policy *client = NULL, *server = NULL;
	struct scratch *work = scratch();
	struct policy_question *q;
	enum drop_reason why;

	if (!work)
		return DROP_POLICY_UNKNOWN;
	q = &work->question;
	if (is_judged_here(q->client_at.slot)) {
		client = pod_policy_at(&q->client_at);
		if (!client || client->egress == RULES_UNKNOWN)
			return DROP_POLICY_UNKNOWN;
	}
	if (is_judged_here(q->server_at.slot)) {
		server = pod_policy_at(&q->server_at);
		if (!server || server->ingress == RULES_UNKNOWN)
			return DROP_POLICY_UNKNOWN;
		if (is_same_pod(&q->client_at, &q->server_at))
			return DROP_NONE;
	}
	if (client && client->egress != RULES_NONE) {
		why = policy_judge(client, true);
		if (why)
			return why;
	}
	if (server && server->ingress != RULES_NONE && !is_own_node(q))
		return policy_judge(server, false);
	return DROP_NONE;
}

/* Has one of the ends rules, or is it at a slot that is another's by now? Most often neither has, and nothing is to be judged. */
static __always_inline bool policy_concerns(const struct peer_location *client, const struct peer_location *server)
{
	const struct pod_policy *pod;

	if (!policy_is_on())
		return false;
	if (is_judged_here(client->slot)) {
		pod = pod_policy_at(client);
		if (!pod || pod->egress != RULES_NONE)
			return true;
	}
	if (!is_judged_here(server->slot))
		return false;
	pod = pod_policy_at(server);
	return !pod || pod->ingress != RULES_NONE;
}

/* May a packet pass that has no flow? Where its sender and its destination are has been found. */
__noinline int policy_check_packet(void)
{
	struct scratch *work = scratch();
	struct policy_question *q;
	const struct packet *p;

	if (!work)
		return DROP_POLICY_UNKNOWN;
	p = &work->packet;
	q = &work->question;
	q->client_at = work->sender;
	q->server_at = work->forward.peer;
	if (!policy_concerns(&q->client_at, &q->server_at))
		return DROP_NONE;
	q->client = p->src;
	q->server = p->dst;
	q->port = p->dport;
	q->protocol = p->flags & PACKET_PORTS ? p->protocol : 0; /* what no rule with ports means */
	return policy_check();
}

#endif
