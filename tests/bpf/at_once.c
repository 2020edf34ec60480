// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Runs programs on packets under BPF_PROG_TEST_RUN, each program on a CPU of its own, packet by packet at the same moment:
 *
 *     at_once CPU:PROGRAM_FD ... < packets
 *
 * For each turn the input has a packet for each program: its length in two octets, least first, then its octets. The programs
 * see the loopback device. Every program waits for all others before each packet, without sleeping.
 */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOOPBACK = 1, IFINDEX_AT = 40, CONTEXT = 192, RUNS = 8, TURNS = 4096, OCTETS = 2048 };

struct run {
	pthread_t thread;
	int cpu, fd;
	uint16_t lengths[TURNS];
	uint8_t packets[TURNS][OCTETS];
};

static struct run *runs;
static int running, turns;
static atomic_int arrived;
static atomic_int failed;

static void test_run(int fd, const uint8_t *packet, uint16_t length)
{
	uint8_t context[CONTEXT] = {};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	context[IFINDEX_AT] = LOOPBACK;
	attr.test.prog_fd = fd;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = length;
	attr.test.ctx_in = (uintptr_t)context;
	attr.test.ctx_size_in = sizeof(context);
	attr.test.repeat = 1;
	if (syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		atomic_store(&failed, 1);
}

static void *work(void *argument)
{
	struct run *run = argument;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(run->cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		atomic_store(&failed, 1);
	for (int turn = 0; turn < turns; turn++) {
		atomic_fetch_add(&arrived, 1);
		while (atomic_load(&arrived) < running * (turn + 1))
			;
		test_run(run->fd, run->packets[turn], run->lengths[turn]);
	}
	return NULL;
}

static int read_turn(void)
{
	for (int i = 0; i < running; i++) {
		uint8_t length[2];

		if (fread(length, 1, sizeof(length), stdin) != sizeof(length))
			return 0;
		runs[i].lengths[turns] = length[0] | length[1] << 8;
		if (runs[i].lengths[turns] > OCTETS ||
		    fread(runs[i].packets[turns], 1, runs[i].lengths[turns], stdin) != runs[i].lengths[turns])
			exit(2);
	}
	return 1;
}

int main(int argc, char **argv)
{
	running = argc - 1;
	runs = calloc(RUNS, sizeof(*runs));
	if (!runs || running < 1 || running > RUNS)
		return 2;
	for (int i = 0; i < running; i++)
		if (sscanf(argv[i + 1], "%d:%d", &runs[i].cpu, &runs[i].fd) != 2)
			return 2;
	while (turns < TURNS && read_turn())
		turns++;
	for (int i = 0; i < running; i++)
		if (pthread_create(&runs[i].thread, NULL, work, &runs[i]))
			return 2;
	for (int i = 0; i < running; i++)
		pthread_join(runs[i].thread, NULL);
	return atomic_load(&failed);
}
