// SPDX-License-Identifier: Apache-2.0
/* Linked into maps/_libbpf beside libbpf: what is shorter or faster in C than through cffi. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "shim.h"

/* ---- the log --------------------------------------------------------------------------------------------- */

/* The end of a verifier's log has the complaint; a whole log may have 16 MB. */
enum { LOG_KEPT = 128 * 1024 };

static __thread char log_text[LOG_KEPT];
static __thread size_t log_used;

/* Append, pushing out the oldest when there is no room. */
static void log_append(const char *text, size_t length)
{
	if (length > LOG_KEPT) {
		text += length - LOG_KEPT;
		length = LOG_KEPT;
	}
	if (log_used + length > LOG_KEPT) {
		size_t out = log_used + length - LOG_KEPT;

		memmove(log_text, log_text + out, log_used - out);
		log_used -= out;
	}
	memcpy(log_text + log_used, text, length);
	log_used += length;
}

static int log_print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char *text;
	int length;

	if (level > LIBBPF_WARN)
		return 0;
	length = vasprintf(&text, format, arguments);
	if (length < 0)
		return 0;
	log_append(text, (size_t)length);
	free(text);
	return 0;
}

void shim_log_install(void)
{
	libbpf_set_print(log_print);
}

size_t shim_log_take(char *to, size_t room)
{
	size_t length = log_used < room ? log_used : room;

	memcpy(to, log_text + (log_used - length), length);
	log_used = 0;
	return length;
}

/* ---- what the kernel tells ------------------------------------------------------------------------------- */

int shim_link_info(int fd, struct shim_link *to)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	int err = bpf_link_get_info_by_fd(fd, &info, &size);

	if (err)
		return err;
	*to = (struct shim_link){.type = info.type, .id = info.id, .prog_id = info.prog_id};
	if (info.type == BPF_LINK_TYPE_CGROUP) {
		to->cgroup_id = info.cgroup.cgroup_id;
		to->attach_type = info.cgroup.attach_type;
	} else if (info.type == BPF_LINK_TYPE_TCX) {
		to->ifindex = info.tcx.ifindex;
		to->attach_type = info.tcx.attach_type;
	} else if (info.type == BPF_LINK_TYPE_XDP) {
		to->ifindex = info.xdp.ifindex;
		to->attach_type = BPF_XDP;
	}
	return 0;
}

int shim_query(int target, int attach_type, uint32_t *programs, uint32_t *links, uint32_t room)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = programs, .prog_cnt = room);
	int err;

	/* a cgroup's query knows no links (EINVAL) */
	if (attach_type == BPF_TCX_INGRESS || attach_type == BPF_TCX_EGRESS)
		opts.link_ids = links;
	err = bpf_prog_query_opts(target, attach_type, &opts);
	return err ? err : (int)opts.prog_cnt;
}

int shim_next_id(char what, uint32_t id, uint32_t *next)
{
	switch (what) {
	case 'p':
		return bpf_prog_get_next_id(id, next);
	case 'm':
		return bpf_map_get_next_id(id, next);
	case 'l':
		return bpf_link_get_next_id(id, next);
	default:
		return -EINVAL;
	}
}

/* A write to a map of maps returns when no program can have what was there before (kernel/bpf/syscall.c, maybe_wait_bpf_programs()). */
int shim_wait(void)
{
	int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "inner", sizeof(uint32_t), sizeof(uint32_t), 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = inner);
	uint32_t zero = 0;
	int outer, err;

	if (inner < 0)
		return inner;
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", sizeof(zero), sizeof(inner), 1, &opts);
	err = outer < 0 ? outer : bpf_map_update_elem(outer, &zero, &inner, BPF_ANY);
	close(inner);
	if (outer >= 0)
		close(outer);
	return err;
}

int64_t shim_btf(uint32_t id, void *to, uint32_t room)
{
	struct bpf_btf_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_btf_get_fd_by_id(id);
	int err;

	if (fd < 0)
		return fd;
	info.btf = (uintptr_t)to;
	info.btf_size = room;
	err = bpf_btf_get_info_by_fd(fd, &info, &size);
	close(fd);
	return err ? err : (int64_t)info.btf_size;
}

/* ---- tc without tcx -------------------------------------------------------------------------------------- */

int shim_tc_attach(int ifindex, int ingress, int prog_fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .handle = SHIM_TC_HANDLE, .priority = SHIM_TC_PRIORITY,
		    .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	return bpf_tc_attach(&hook, &opts);
}

int shim_tc_detach(int ifindex, int ingress)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = SHIM_TC_HANDLE, .priority = SHIM_TC_PRIORITY);

	return bpf_tc_detach(&hook, &opts);
}

int shim_tc_query(int ifindex, int ingress, uint32_t *prog_id)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = SHIM_TC_HANDLE, .priority = SHIM_TC_PRIORITY);
	int err = bpf_tc_query(&hook, &opts);

	*prog_id = opts.prog_id;
	return err;
}

/* ---- maps ------------------------------------------------------------------------------------------------ */

enum { UPDATE_WAITS = 100 }; /* of a millisecond each */

int shim_map_update(int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size, uint32_t *n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t all = *n, done = 0;
	int err = 0;

	/* a batch may stop early: on a bucket that this CPU holds, or until the map's memory pool was filled up again */
	for (int waits = 0; done < all && waits < UPDATE_WAITS; waits++) {
		uint32_t count = all - done;

		err = bpf_map_update_batch(fd, (const char *)keys + (size_t)done * key_size,
					   (const char *)values + (size_t)done * value_size, &count, &opts);
		done += err && count == all - done ? 0 : count; /* refused as a whole, the count is untouched */
		if (!err || (err != -EBUSY && err != -EAGAIN && err != -EINTR && err != -ENOMEM))
			break;
		usleep(1000);
	}
	*n = done;
	return err;
}

int shim_map_delete(int fd, const void *keys, uint32_t key_size, uint32_t *n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t all = *n, done = 0;

	/* a batch ends at a key that is not there: gone already is as good as deleted, so the rest follows */
	while (done < all) {
		uint32_t count = all - done;
		int err = bpf_map_delete_batch(fd, (const char *)keys + (size_t)done * key_size, &count, &opts);

		done += err && count == all - done ? 0 : count;
		if (err == -ENOENT)
			done++;
		else if (err) {
			*n = done;
			return err;
		}
	}
	*n = done;
	return 0;
}

int shim_map_add(int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size, uint32_t *n)
{
	const char *key = keys, *value = values;
	uint32_t all = *n;

	*n = 0;
	for (uint32_t i = 0; i < all; i++, key += key_size, value += value_size) {
		int err = bpf_map_update_elem(fd, key, value, BPF_NOEXIST);

		if (!err)
			++*n;
		else if (err != -EEXIST)
			return err;
	}
	return 0;
}

int64_t shim_map_count(int fd, uint32_t key_size, uint32_t value_size, uint32_t max_entries)
{
	/* the kernel hands out whole buckets: room for the longest chain, and grown when one is longer */
	uint32_t room = max_entries < 4096 ? max_entries : 4096;
	uint64_t *mark = calloc(1, key_size < 8 ? 8 : key_size), *from = NULL;
	void *keys = malloc((size_t)room * key_size), *values = malloc((size_t)room * value_size);
	int64_t total = 0;
	int err = mark && keys && values ? 0 : -ENOMEM;

	while (!err) {
		uint32_t n = room;

		err = bpf_map_lookup_batch(fd, from, mark, keys, values, &n, NULL);
		if (err == -ENOSPC) {
			room *= 2;
			free(keys);
			free(values);
			keys = malloc((size_t)room * key_size);
			values = malloc((size_t)room * value_size);
			err = keys && values ? 0 : -ENOMEM;
			continue;
		}
		if (!err || err == -ENOENT)
			total += n;
		from = mark;
	}
	free(mark);
	free(keys);
	free(values);
	return err == -ENOENT ? total : err;
}
