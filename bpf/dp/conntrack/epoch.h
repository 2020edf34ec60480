/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A number that all copies of flows bear, and that another one voids: in caches (cache.h) and shortcuts (shortcut.h). */
#ifndef SLUICEWAY_EPOCH_H
#define SLUICEWAY_EPOCH_H

#include "dp/packet/packet.h"
#include "dp/packet/scratch.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} cache_epochs SEC(".maps") PRIVATE;

static __always_inline __u64 cache_epoch(void)
{
	__u32 zero = 0;
	__u64 *epoch = bpf_map_lookup_elem(&cache_epochs, &zero);

	return epoch ? *(volatile __u64 *)epoch : 0;
}

/* Voids every cache's flows of what was ended or changed before. */
static __always_inline void cache_void(void)
{
	__u32 zero = 0;
	__u64 *epoch = bpf_map_lookup_elem(&cache_epochs, &zero);

	fence();
	if (epoch)
		__sync_fetch_and_add(epoch, 1);
}

#endif
