/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a rule set says of a peer class and a port. Sets, rules and lists that something refers to are never changed in part. */
#ifndef SLUICEWAY_RULE_H
#define SLUICEWAY_RULE_H

#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>

#include "dp/abi/policy.h"
#include "dp/abi/rule.h"
#include "dp/config.h"

EXPORT_ENUM(policy_verdict);
EXPORT_ENUM(pod_policy_flag);
EXPORT_NUMBER(RULES_UNKNOWN);
EXPORT_NUMBER(RULES_NONE);
EXPORT_NUMBER(RULES_FIRST);
EXPORT_NUMBER(RULE_RANGES);
EXPORT_NUMBER(MAX_POLICIES);

_Static_assert(sizeof(struct rule) == 64, "one cache line");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_POLICIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct policy_name);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} policies SEC(".maps") AGENT_WRITES(3);

/* Lists of ports that are too long for a rule. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_verdict_key);
	__type(value, struct port_verdict);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} port_verdicts SEC(".maps") AGENT_WRITES(6) SIZED_BY(max_rules);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rule_key);
	__type(value, struct rule);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} rules SEC(".maps") AGENT_WRITES(8) SIZED_BY(max_rules);

/* What each rule set's number stands for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct policy_digest);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} rule_sets SEC(".maps") AGENT_WRITES(4);

/* A verdict, and whose. */
struct judgement {
	__u16 policy;
	__u8 verdict;
};

static __always_inline bool has_port_rules(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* The verdict of a list, where it has one for the port. */
static __noinline void port_verdict_find(__u32 list, __u8 protocol, __be16 port, struct judgement *j)
{
	struct port_verdict_key key = {
		.prefix_bits = 8 * (sizeof(key) - sizeof(__u32)),
		.port_list = list,
		.protocol = protocol,
		.port = port,
	};
	const struct port_verdict *v = bpf_map_lookup_elem(&port_verdicts, &key);

	if (!v)
		return;
	j->policy = v->policy;
	j->verdict = v->verdict;
}

static __always_inline void rule_judge(const struct rule *rule, __u8 protocol, __be16 port, struct judgement *j)
{
	__u16 number = bpf_ntohs(port);

	j->policy = rule->policy;
	j->verdict = rule->verdict;
	if (!has_port_rules(protocol))
		return;
#pragma unroll
	for (int i = 0; i < RULE_RANGES; i++) {
		const struct port_range *r = &rule->ranges[i];

		if (i >= rule->count)
			break;
		if (r->protocol == protocol && r->low <= number && number <= r->high) {
			j->policy = r->policy;
			j->verdict = r->verdict;
			return;
		}
	}
	if (rule->port_list)
		port_verdict_find(rule->port_list, protocol, port, j);
}

/* The rule of a set for a class; NULL: the set is not there. */
static __always_inline const struct rule *rule_find(__u32 rules_number, __u32 class)
{
	struct rule_key key = {.rules = rules_number, .peer_class = class};
	const struct rule *rule = class ? bpf_map_lookup_elem(&rules, &key) : NULL;

	if (rule)
		return rule;
	key.peer_class = 0;
	return bpf_map_lookup_elem(&rules, &key);
}

#endif
