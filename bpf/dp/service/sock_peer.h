/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What sockets were given at their hooks. */
#ifndef SLUICEWAY_SOCK_PEER_H
#define SLUICEWAY_SOCK_PEER_H

#include "dp/abi/sock_peer.h"
#include "dp/config.h"

/* What sockets were given, until they are closed: an LRU would take from one that lives what another asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sock_peer_key);
	__type(value, struct sock_peer);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} sock_peers SEC(".maps") PROGRAMS_WRITE SIZED_BY(max_flows) CARRIED;

/* What stands at the place; NULL: nothing, and nothing behind it. */
static __always_inline struct sock_peer *sock_peer_at(struct sock_peer_key *key, __u32 place)
{
	key->place = place;
	return bpf_map_lookup_elem(&sock_peers, key);
}

#endif
