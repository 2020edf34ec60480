/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Hashes that are the same on every node. */
#ifndef SLUICEWAY_HASH_H
#define SLUICEWAY_HASH_H

#include <linux/types.h>

/* Mixes one word in: a multiplication and a shift, alike on every node. */
static __always_inline __u32 hash_word(__u32 h, __u32 word)
{
	h = (h ^ word) * 0x9e3779b1;
	return h ^ (h >> 15);
}

#endif
