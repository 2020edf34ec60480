// SPDX-License-Identifier: Apache-2.0
/*
 * Reads the flow table (bpf/dp/conntrack/flow_table.h) out of its two arrays in memory, while programs write them. An entry begins with its
 * key; behind that is the value. The value's first word is another one for each entry that is written there, and 0 while one is; its second
 * has flags.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "shim.h"

enum { TRIES = 8 /* of an entry that is written at this moment */ };

static size_t octets(uint32_t number, uint32_t each)
{
	return (size_t)number * each;
}

int shim_flows_map(int buckets, int entries, struct shim_flows *f)
{
	void *lines = mmap(NULL, octets(f->buckets, f->bucket_size), PROT_READ, MAP_SHARED, buckets, 0);
	void *all = mmap(NULL, octets(f->buckets * f->ways, f->entry_size), PROT_READ, MAP_SHARED, entries, 0);
	int err = errno;

	f->lines = lines == MAP_FAILED ? NULL : lines;
	f->entries = all == MAP_FAILED ? NULL : all;
	if (f->lines && f->entries)
		return 0;
	shim_flows_unmap(f);
	return -err;
}

void shim_flows_unmap(struct shim_flows *f)
{
	if (f->lines)
		munmap(f->lines, octets(f->buckets, f->bucket_size));
	if (f->entries)
		munmap(f->entries, octets(f->buckets * f->ways, f->entry_size));
	f->lines = NULL;
	f->entries = NULL;
}

static const uint32_t *tag_of(const struct shim_flows *f, uint32_t bucket, uint32_t way)
{
	return (const uint32_t *)((const char *)f->lines + octets(bucket, f->bucket_size)) + way;
}

/* Is an entry wanted that was read, by the first words of its value: serial and flags? */
static int is_wanted(const struct shim_flows *f, uint32_t index, const char *value)
{
	uint32_t words[2];
	uint64_t both;

	memcpy(words, value, sizeof(words));
	memcpy(&both, value, sizeof(both));
	if (words[1] & f->without || (f->known && f->known[index] == both))
		return 0;
	if (f->known)
		f->known[index] = both;
	return 1;
}

/* Copies an entry whole. 0: there is none, or none that is wanted. */
static int read_entry(const struct shim_flows *f, uint32_t bucket, uint32_t way, char *key, char *value)
{
	uint32_t index = bucket * f->ways + way;
	const char *entry = (const char *)f->entries + octets(index, f->entry_size);
	const uint32_t *tag = tag_of(f, bucket, way), *serial = (const uint32_t *)(entry + f->key_size);

	for (int i = 0; i < TRIES; i++) {
		uint32_t tagged = __atomic_load_n(tag, __ATOMIC_ACQUIRE);
		uint32_t written = __atomic_load_n(serial, __ATOMIC_ACQUIRE);

		if (!tagged)
			return 0;
		memcpy(key, entry, f->key_size);
		memcpy(value, entry + f->key_size, f->value_size);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(serial, __ATOMIC_RELAXED) == written &&
		    __atomic_load_n(tag, __ATOMIC_RELAXED) == tagged)
			return is_wanted(f, index, value);
	}
	return 0;
}

uint32_t shim_flows_read(const struct shim_flows *f, uint32_t *bucket, void *keys, void *values, uint32_t room)
{
	uint32_t n = 0;

	for (; *bucket < f->buckets && n + f->ways <= room; ++*bucket)
		for (uint32_t way = 0; way < f->ways; way++)
			n += read_entry(f, *bucket, way, (char *)keys + octets(n, f->key_size),
					(char *)values + octets(n, f->value_size));
	return n;
}

uint64_t shim_flows_count(const struct shim_flows *f, uint32_t *counts)
{
	uint64_t all = 0;

	for (uint32_t bucket = 0; bucket < f->buckets; bucket++) {
		uint32_t n = 0;

		for (uint32_t way = 0; way < f->ways; way++)
			n += __atomic_load_n(tag_of(f, bucket, way), __ATOMIC_RELAXED) != 0;
		if (counts)
			counts[bucket] = n;
		all += n;
	}
	return all;
}
