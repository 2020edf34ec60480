// SPDX-License-Identifier: Apache-2.0
/*
 * A backend set's lookup tables, after Maglev (Eisenbud et al., NSDI 2016, section 3.4): the backends claim slots in
 * rounds, each in a pseudorandom order of its own, until none is left.  Order and turn follow from a backend's address
 * and port alone, so every node fills the same tables.  Three things differ from the paper, so that a backend that
 * comes or goes moves about its own share of the flows, however many slots a backend has:
 *
 * - A backend that finds its slot taken waits for the next round, unless it is behind.  In the paper it goes on
 *   to its next free slot, and so most slots claimed late move with every change.
 * - Shares are kept within a twelfth of the mean by bounds: a backend above takes no more, one that is behind goes on
 *   until it is not (bounded loads, Mirrokni et al., SODA 2018, here from both sides).
 * - What is claimed is a cell: one slot, or the two slots that the tables of half as many parts have as one.  As
 *   backends come, cells are split one after the other, as buckets are in linear hashing (Litwin, VLDB 1980); the
 *   number of parts doubles when all are split, which moves nothing.
 *
 * A backend that weighs more than one claims as so many backends would.
 */
#include <stdlib.h>
#include <string.h>

#include "shim.h"

enum {
	KEY = 18,
	PART_BACKENDS = 10, /* that one part serves before its cells are split: about 100 slots each */
	MOST_PARTS = 512,   /* bounds the memory of a set: 1 MiB; from 5,121 backends on each has fewer slots */
};

struct claimant {
	const uint8_t *key;
	uint64_t hash;
	uint64_t state; /* of the generator that says which slot comes next */
	uint32_t held;	/* slots */
	uint16_t slot;
};

struct tables {
	uint16_t *slots; /* part after part */
	uint8_t *taken;
	uint32_t part_slots;
	uint32_t parts;
	uint32_t half;	/* parts before the last doubling */
	uint32_t split; /* cells below this number are one slot, the others two */
	uint64_t size;	/* slots of all parts */
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

/* Who begins a round; not by address, or low addresses would always come first. */
static int by_hash(const void *left, const void *right)
{
	const struct claimant *a = left, *b = right;
	int order;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	order = memcmp(a->key, b->key, KEY);
	return order ? order : a->slot - b->slot;
}

/* A power of two, as the datapath masks a flow's hash with it. */
uint32_t shim_maglev_parts(uint32_t n)
{
	uint32_t parts = 1;

	while (parts < MOST_PARTS && parts * PART_BACKENDS < n)
		parts *= 2;
	return parts;
}

/*
 * How many cells are split when n backends are more than `before`, which fill the tables of half the parts.  Between
 * there and twice as many they are split the faster the fewer there are: t (4 - t) / 3 is within 0.03 of log2(1 + t),
 * with which each backend that comes would split cells of the same share of the flows.
 */
static uint32_t cells_split(uint64_t cells, uint64_t before, uint64_t n)
{
	uint64_t more = n - before;

	return more >= before ? cells : cells * more * (4 * before - more) / (3 * before * before);
}

/*
 * The cell at a slot becomes a backend's, unless it is taken: how many slots that gives.  There is no branch on what is
 * taken, which no processor can predict.
 */
static uint32_t claim(const struct tables *t, uint32_t part, uint32_t index, uint16_t slot)
{
	uint32_t at = part * t->part_slots + index;
	uint32_t cell = (part & (t->half - 1)) * t->part_slots + index;
	uint32_t won = !t->taken[at], twin;

	t->taken[at] = 1;
	t->slots[at] ^= (t->slots[at] ^ slot) & -won;
	if (cell < t->split)
		return won;
	twin = 2 * cell + t->half * t->part_slots - at;
	t->taken[twin] = 1;
	t->slots[twin] = t->slots[at];
	return 2 * won;
}

/*
 * Each claims where a flow of its next hash would look, and those that hold less than `least` until they do.  The
 * generator has every state in its period (Knuth, TAOCP 2, 3.2.1.2), so every slot comes.  Returns what is free then.
 */
static uint64_t claim_round(const struct tables *t, struct claimant *claimants, uint32_t n, uint64_t left,
			    uint32_t least, uint32_t most)
{
	for (struct claimant *c = claimants; c < claimants + n; c++) {
		if (c->held >= most)
			continue;
		do {
			uint32_t hash, won;

			c->state = c->state * 6364136223846793005ULL + 1442695040888963407ULL;
			hash = c->state >> 32;
			won = claim(t, hash & (t->parts - 1), (uint64_t)hash * t->part_slots >> 32, c->slot);
			c->held += won;
			left -= won;
		} while (left && c->held < least);
	}
	return left;
}

/* The highest random weight at a cell (Thaler, Ravishankar, 1998), first of those that hold less than `least`. */
static struct claimant *chosen(struct claimant *claimants, uint32_t n, uint64_t cell, uint32_t least, uint32_t most)
{
	struct claimant *best = NULL;
	uint64_t highest = 0;

	for (struct claimant *c = claimants; c < claimants + n; c++) {
		uint64_t weight = mixed(c->hash ^ mixed(cell)) >> 1;

		if (c->held >= most)
			continue;
		if (c->held < least)
			weight |= 1ULL << 63;
		if (!best || weight > highest) {
			highest = weight;
			best = c;
		}
	}
	return best;
}

/*
 * `room / n` is by how many slots a backend may differ from the mean: a twelfth of it, but one at least, or nobody might
 * take the last ones.  A backend is behind when three times its part of what is left would not bring it to the least:
 * early on nobody is, at the end whoever holds less.  The last slots, an eighth of one backend's, are given out one by
 * one: by claims a small set would take half as long again.
 */
static void fill(const struct tables *t, struct claimant *claimants, uint32_t n)
{
	uint64_t room = t->size / 12 > n ? t->size / 12 : n, left = t->size;
	uint32_t least = (t->size - room + n - 1) / n, most = (t->size + room) / n;

	while (left * 8 * n > t->size) {
		uint64_t slack = room + 3 * left;

		left = claim_round(t, claimants, n, left, slack < t->size ? (t->size - slack + n - 1) / n : 0, most);
	}
	for (uint32_t at = 0; left; at++) {
		struct claimant *c;
		uint32_t won;

		if (t->taken[at])
			continue;
		c = chosen(claimants, n, at, least, most);
		won = claim(t, at / t->part_slots, at % t->part_slots, c->slot);
		c->held += won;
		left -= won;
	}
}

static struct tables sized(uint32_t n, uint32_t part_slots)
{
	uint32_t parts = shim_maglev_parts(n), half = parts > 1 ? parts / 2 : 1;

	return (struct tables){
		.part_slots = part_slots,
		.parts = parts,
		.half = half,
		.split = parts > 1 ? cells_split(half * part_slots, half * PART_BACKENDS, n) : part_slots,
		.size = (uint64_t)parts * part_slots,
	};
}

/* How many claim for n backends: each so often as it weighs. */
static uint32_t claimants_of(const uint16_t *weights, uint32_t n)
{
	uint32_t all = 0;

	for (uint32_t i = 0; i < n; i++)
		all += weights[i];
	return all;
}

/* Claims of a backend that weighs more than one are as those of several, whose orders have nothing in common. */
static uint64_t hashed_again(uint64_t hash, uint32_t turn)
{
	return turn ? mixed(hash ^ mixed(turn)) : hash;
}

int shim_maglev(const uint8_t *keys, const uint16_t *slots, const uint16_t *weights, uint32_t n, uint16_t *tables,
		uint32_t part_slots)
{
	uint32_t all = claimants_of(weights, n), at = 0;
	struct tables t = sized(all, part_slots);
	struct claimant *claimants = malloc(all * sizeof(*claimants));

	t.slots = tables;
	t.taken = calloc(t.size, 1);
	if (!claimants || !t.taken) {
		free(claimants);
		free(t.taken);
		return -1;
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *key = keys + (size_t)i * KEY;

		for (uint32_t turn = 0; turn < weights[i]; turn++) {
			uint64_t hash = hashed_again(hashed(key), turn);

			claimants[at++] = (struct claimant){.key = key, .hash = hash, .state = hash, .slot = slots[i]};
		}
	}
	qsort(claimants, all, sizeof(*claimants), by_hash);
	fill(&t, claimants, all);
	free(claimants);
	free(t.taken);
	return 0;
}
