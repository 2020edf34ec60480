/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whom a load balancer's address serves: the sources in its service's loadBalancerSourceRanges, asked once per flow. */
#ifndef SLUICEWAY_SOURCE_RANGE_H
#define SLUICEWAY_SOURCE_RANGE_H

#include "dp/abi/service.h"
#include "dp/service/service.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range_key);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} source_ranges SEC(".maps") AGENT_WRITES(88) SIZED_BY(max_services);

/* Does the service serve what comes from this address? */
__noinline int source_is_served(const struct service *s, const ip_addr *source)
{
	struct source_range_key key = {.prefix_bits = 8 * (sizeof(key) - sizeof(key.prefix_bits))};

	if (!s || !source)
		return false;
	if (!(s->flags & SERVICE_RANGED))
		return true;
	key.set_id = s->set_id;
	key.addr = *source;
	return bpf_map_lookup_elem(&source_ranges, &key) != NULL;
}

#endif
