// SPDX-License-Identifier: Apache-2.0
/* Maps that an array of maps is made of: made, and chosen for a key as bpf/dp/conntrack/flow.h does. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

int shim_subtable(const struct bpf_map *outer, struct shim_subtable *to)
{
	const struct bpf_map *inner = bpf_map__inner_map((struct bpf_map *)outer);

	if (!inner)
		return 0;
	*to = (struct shim_subtable){
		.type = bpf_map__type(inner),
		.key_size = bpf_map__key_size(inner),
		.value_size = bpf_map__value_size(inner),
		.flags = bpf_map__map_flags(inner),
		.entries = bpf_map__max_entries(inner),
		.btf_key = bpf_map__btf_key_type_id(inner),
		.btf_value = bpf_map__btf_value_type_id(inner),
	};
	return 1;
}

/* The array holds the maps: our descriptors of them are closed. */
static int store_all(int outer, int *fds, uint32_t number)
{
	uint32_t *indices = calloc(number, sizeof(*indices)), n = number;
	int err = indices ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < number; i++)
		indices[i] = i;
	/* at once, for each call waits until no program is under way */
	if (!err)
		err = shim_map_update(outer, indices, sizeof(*indices), fds, sizeof(*fds), &n);
	free(indices);
	return err;
}

int shim_subtables_make(int outer, const char *name, int btf, const struct shim_subtable *like, uint32_t number)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = like->flags, .btf_fd = btf,
		    .btf_key_type_id = like->btf_key, .btf_value_type_id = like->btf_value);
	int *fds = calloc(number, sizeof(*fds));
	uint32_t made = 0;
	int err = fds ? 0 : -ENOMEM;

	while (!err && made < number) {
		int fd = bpf_map_create(like->type, name, like->key_size, like->value_size, like->entries, &opts);

		if (fd < 0)
			err = fd;
		else
			fds[made++] = fd;
	}
	if (!err)
		err = store_all(outer, fds, number);
	while (made)
		close(fds[--made]);
	free(fds);
	return err;
}

void shim_subtable_places(const void *keys, uint32_t key_size, uint32_t n, const uint64_t *seed, uint32_t number,
			  uint32_t *places)
{
	const char *key = keys;

	for (uint32_t i = 0; i < n; i++, key += key_size) {
		uint64_t hash = 0;

		for (uint32_t w = 0; w + 1 < key_size / sizeof(uint32_t); w += 2) {
			uint32_t words[2];

			memcpy(words, key + w * sizeof(uint32_t), sizeof(words));
			hash += (words[0] + seed[w]) * (words[1] + seed[w + 1]);
		}
		places[i] = (hash >> 32) * number >> 32;
	}
}
