/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Later fragments carry no ports: they are kept from the datagram's first. */
#ifndef SLUICEWAY_FRAGMENT_H
#define SLUICEWAY_FRAGMENT_H

#include "config.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fragments SEC(".maps");

/* Gives a later fragment the ports of its datagram when the first went by here; keeps those of a first one. */
static __always_inline void fragment_follow(struct packet *p)
{
	struct fragment_key key = {.src = p->src, .dst = p->dst, .ident = p->ident, .protocol = p->protocol};

	if (p->flags & PACKET_LATER_FRAGMENT) {
		struct fragment *f = bpf_map_lookup_elem(&fragments, &key);

		if (!f)
			return;
		p->sport = f->sport;
		p->dport = f->dport;
		p->flags |= PACKET_PORTS;
	} else if (p->flags & PACKET_FIRST_FRAGMENT && p->flags & PACKET_PORTS) {
		struct fragment f = {.sport = p->sport, .dport = p->dport};

		bpf_map_update_elem(&fragments, &key, &f, BPF_ANY);
	}
}

#endif
