// SPDX-License-Identifier: Apache-2.0
/*
 * Maglev's lookup table (Eisenbud et al., NSDI 2016, section 3.4): each backend has a permutation of the slots of its
 * own, and the backends take their next free slot in rotation until none is left.  A permutation follows from the
 * backend's address and port alone, so every node fills the same table, and a backend that leaves moves few entries
 * besides its own.
 */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

enum { KEY = 18 };

struct permutation {
	uint64_t hash;
	const uint8_t *key;
	uint32_t at;   /* the next slot */
	uint32_t skip; /* 1 to size - 1: size is prime, so every slot comes once */
	uint16_t slot;
};

/* Finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the input moves every bit of the output. */
static uint64_t mixed(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* The same on every machine: the key is read byte by byte. */
static uint64_t word(const uint8_t *from, int bytes)
{
	uint64_t x = 0;

	for (int i = 0; i < bytes; i++)
		x = x << 8 | from[i];
	return x;
}

static uint64_t hashed(const uint8_t *key)
{
	uint64_t h = mixed(word(key, 8) + 0x9e3779b97f4a7c15ULL);

	h = mixed(h ^ word(key + 8, 8));
	return mixed(h ^ word(key + 16, 2));
}

/* Who begins a round; not by address, or low addresses would always have the extra slot. */
static int by_hash(const void *left, const void *right)
{
	const struct permutation *a = left, *b = right;
	int order;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	order = memcmp(a->key, b->key, KEY);
	return order ? order : a->slot - b->slot;
}

int shim_maglev(const uint8_t *keys, const uint16_t *slots, uint32_t n, uint16_t *table, uint32_t size)
{
	struct permutation *permutations = malloc(n * sizeof(*permutations));
	uint8_t *taken = calloc(size, 1);
	uint32_t filled = 0;

	if (!permutations || !taken) {
		free(permutations);
		free(taken);
		return -1;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t hash = hashed(keys + i * KEY);

		permutations[i] = (struct permutation){
			.hash = hash,
			.key = keys + i * KEY,
			.at = (uint32_t)(hash >> 32) % size,
			.skip = (uint32_t)hash % (size - 1) + 1,
			.slot = slots[i],
		};
	}
	qsort(permutations, n, sizeof(*permutations), by_hash);
	for (uint32_t next = 0; filled < size; next = next + 1 < n ? next + 1 : 0) {
		struct permutation *p = &permutations[next];

		while (taken[p->at]) {
			p->at += p->skip;
			if (p->at >= size)
				p->at -= size;
		}
		taken[p->at] = 1;
		table[p->at] = p->slot;
		filled++;
	}
	free(permutations);
	free(taken);
	return 0;
}
