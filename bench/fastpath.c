// SPDX-License-Identifier: Apache-2.0
/*
 * An application of a pod that sends or takes small packets, by an AF_XDP socket or one of the kernel's.
 *
 *   fastpath send INTERFACE COUNT                 the frame on standard input, so many times
 *   fastpath socket-send ADDRESS PORT OCTETS COUNT
 *   fastpath receive INTERFACE MAP                until standard input ends; MAP is a descriptor of the map of sockets
 *   fastpath socket-receive PORT
 *
 * Those that send print the ns of a packet, those that receive first "ready", then packets and the ns from the first to the last.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <poll.h>

#include "program.h"
#include "xsk.h"

enum { AT_ONCE = 64, SMALL = 2048 };

static void sent(long long began, long count)
{
	printf("%lld\n", (now_ns() - began) / count);
}

/* Each entry of the ring has its frame, and all frames are alike. */
static void send_frames(struct xsk *x, uint32_t length, long count)
{
	long given = 0, done = 0;

	for (int i = 0; i < RING; i++) {
		((struct xdp_desc *)x->tx.entries)[i] =
			(struct xdp_desc){.addr = (uint64_t)(RING + i) * FRAME, .len = length};
		memcpy(x->frames + (uint64_t)(RING + i) * FRAME, x->frames, length);
	}
	while (done < count) {
		given = count - done < RING ? count : done + RING;
		__atomic_store_n(x->tx.producer, given, __ATOMIC_RELEASE);
		if (sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY &&
		    errno != ENOBUFS)
			die("send");
		done = __atomic_load_n(x->done.producer, __ATOMIC_ACQUIRE);
		__atomic_store_n(x->done.consumer, done, __ATOMIC_RELEASE);
	}
}

static void by_xdp(const char *interface, long count)
{
	struct xsk x = open_socket(if_nametoindex(interface), 0, -1);
	ssize_t length = read(STDIN_FILENO, x.frames, FRAME);
	long long began;

	if (length < ETH_HLEN)
		die("a frame");
	began = now_ns();
	send_frames(&x, length, count);
	sent(began, count);
}

static void by_socket(const char *address, int port, size_t octets, long count)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char text[SMALL] = "";
	struct iovec part = {text, octets};
	struct mmsghdr messages[AT_ONCE] = {};
	long long began;

	if (octets > sizeof(text) || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die(address);
	for (int i = 0; i < AT_ONCE; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
	began = now_ns();
	for (long left = count; left > 0;) {
		int done = sendmmsg(fd, messages, left < AT_ONCE ? left : AT_ONCE, 0);

		if (done < 0)
			die("send");
		left -= done;
	}
	sent(began, count);
}

/* Gives the frames back to the kernel that came; how many. */
static long taken(struct xsk *x)
{
	uint32_t from = *x->rx.consumer, to = __atomic_load_n(x->rx.producer, __ATOMIC_ACQUIRE);
	uint32_t fill = *x->fill.producer;

	for (uint32_t i = from; i != to; i++)
		((uint64_t *)x->fill.entries)[fill++ % RING] = ((struct xdp_desc *)x->rx.entries)[i % RING].addr;
	__atomic_store_n(x->rx.consumer, to, __ATOMIC_RELEASE);
	__atomic_store_n(x->fill.producer, fill, __ATOMIC_RELEASE);
	return to - from;
}

static long taken_by_socket(int fd)
{
	static char text[AT_ONCE][SMALL];
	struct iovec parts[AT_ONCE];
	struct mmsghdr messages[AT_ONCE] = {};
	int found;

	for (int i = 0; i < AT_ONCE; i++) {
		parts[i] = (struct iovec){text[i], SMALL};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	found = recvmmsg(fd, messages, AT_ONCE, MSG_DONTWAIT, NULL);
	return found < 0 ? 0 : found;
}

static void receive(int fd, struct xsk *x)
{
	struct pollfd waits[] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
	long long first = 0, last = 0;
	long count = 0, came;

	puts("ready");
	fflush(stdout);
	while (!waits[1].revents) {
		poll(waits, 2, -1);
		came = x ? taken(x) : taken_by_socket(fd);
		if (!came)
			continue;
		last = now_ns();
		first = first ? first : last;
		count += came;
	}
	printf("%ld %lld\n", count, last - first);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct xsk x;
	int fd;

	if (argc == 4 && !strcmp(argv[1], "send")) {
		by_xdp(argv[2], atol(argv[3]));
	} else if (argc == 6 && !strcmp(argv[1], "socket-send")) {
		by_socket(argv[2], atoi(argv[3]), atol(argv[4]), atol(argv[5]));
	} else if (argc == 4 && !strcmp(argv[1], "receive")) {
		x = open_socket(if_nametoindex(argv[2]), 0, atoi(argv[3]));
		receive(x.fd, &x);
	} else if (argc == 3 && !strcmp(argv[1], "socket-receive")) {
		at.sin_port = htons(atoi(argv[2]));
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (bind(fd, (struct sockaddr *)&at, sizeof(at)))
			die(argv[2]);
		receive(fd, NULL);
	} else {
		fprintf(stderr, "fastpath: see the source\n");
		return 2;
	}
	return 0;
}
