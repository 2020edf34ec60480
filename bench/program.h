// SPDX-License-Identifier: Apache-2.0
/* What the benches' programs share: an end with its reason, a namespace to work in, a clock. Needs _GNU_SOURCE. */
#ifndef SLUICEWAY_BENCH_PROGRAM_H
#define SLUICEWAY_BENCH_PROGRAM_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

/* The calling thread's network is that of this path from now on. */
static inline void enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

static inline long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

#endif
