// SPDX-License-Identifier: Apache-2.0
/* An AF_XDP socket by nothing but the kernel's headers, with memory of its own, that copies. Needs program.h. */
#ifndef SLUICEWAY_BENCH_XSK_H
#define SLUICEWAY_BENCH_XSK_H

#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { FRAME = 4096, FRAMES = 512, RING = 256, BUSY_TRIES = 1000, BUSY_US = 10000 };

struct ring {
	uint32_t *producer, *consumer;
	void *entries;
};

struct xsk {
	int fd;
	uint8_t *frames;
	struct ring fill, done, rx, tx;
};

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static struct ring mapped(int fd, const struct xdp_ring_offset *at, size_t entry, off_t offset)
{
	uint8_t *memory =
		mmap(NULL, at->desc + RING * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (memory == MAP_FAILED)
		die("mmap");
	return (struct ring){(uint32_t *)(memory + at->producer), (uint32_t *)(memory + at->consumer),
			     memory + at->desc};
}

static void option(int fd, int name, const void *value, socklen_t length)
{
	if (setsockopt(fd, SOL_XDP, name, value, length))
		die("setsockopt");
}

/*
 * At a queue of a device, and in a map (negative: in none, as one that but sends). The first half of the frames is for what comes, the
 * other for what is sent: frame i of it is the tx entry's i.
 */
static struct xsk open_socket(unsigned ifindex, uint32_t queue, int map)
{
	struct xsk x = {.fd = socket(AF_XDP, SOCK_RAW, 0)};
	struct sockaddr_xdp to = {
		.sxdp_family = AF_XDP, .sxdp_ifindex = ifindex, .sxdp_queue_id = queue, .sxdp_flags = XDP_COPY};
	struct xdp_umem_reg umem = {.len = FRAME * FRAMES, .chunk_size = FRAME};
	struct xdp_mmap_offsets at;
	socklen_t length = sizeof(at);
	union bpf_attr attr;
	int entries = RING;

	if (x.fd < 0)
		die("AF_XDP");
	x.frames = mmap(NULL, umem.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	umem.addr = (uintptr_t)x.frames;
	option(x.fd, XDP_UMEM_REG, &umem, sizeof(umem));
	option(x.fd, XDP_UMEM_FILL_RING, &entries, sizeof(entries));
	option(x.fd, XDP_UMEM_COMPLETION_RING, &entries, sizeof(entries));
	option(x.fd, XDP_RX_RING, &entries, sizeof(entries));
	option(x.fd, XDP_TX_RING, &entries, sizeof(entries));
	if (getsockopt(x.fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &length))
		die("offsets");
	x.fill = mapped(x.fd, &at.fr, sizeof(uint64_t), XDP_UMEM_PGOFF_FILL_RING);
	x.done = mapped(x.fd, &at.cr, sizeof(uint64_t), XDP_UMEM_PGOFF_COMPLETION_RING);
	x.rx = mapped(x.fd, &at.rx, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING);
	x.tx = mapped(x.fd, &at.tx, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
	for (uint64_t i = 0; i < RING; i++)
		((uint64_t *)x.fill.entries)[i] = i * FRAME;
	__atomic_store_n(x.fill.producer, RING, __ATOMIC_RELEASE);
	/* the kernel lets go of a queue some time after the socket that had it */
	for (int tries = 0; bind(x.fd, (struct sockaddr *)&to, sizeof(to)); tries++) {
		if (errno != EBUSY || tries > BUSY_TRIES)
			die("bind");
		usleep(BUSY_US);
	}
	if (map < 0)
		return x;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&queue;
	attr.value = (uintptr_t)&x.fd;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		die("the map of the sockets");
	return x;
}

#endif
