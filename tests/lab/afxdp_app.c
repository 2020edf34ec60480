// SPDX-License-Identifier: Apache-2.0
/*
 * An application that takes a pod's packets from AF_XDP sockets, by nothing but the kernel's headers, as DPDK's driver
 * net_af_xdp does with use_cni=1 or use_pinned_map=1.
 *
 *   afxdp_app echo INTERFACE QUEUES (SOCKET | MAP)
 *       until SIGTERM: sends back each UDP datagram, once its checksums are found right. One that is "?" is answered with
 *       what was seen, as JSON: datagrams by their first octet, by queue, with wrong sums, and other packets.
 *   afxdp_app ask INTERFACE QUEUES (SOCKET | MAP) SOURCE DESTINATION PORT TEXT PATIENCE_MS
 *       sends such a datagram by the node until one comes back; prints from whom and what. Ends with 3 after PATIENCE_MS.
 *
 * Where the path ends in .sock the map comes by the handshake, else it is a pin.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "program.h"
#include "xsk.h"

enum { MOST_QUEUES = 8, LETTERS = 128, AGAIN_MS = 200, TTL = 64 };

struct seen {
	unsigned long letters[LETTERS], queues[MOST_QUEUES], wrong, other;
};

/* ---- the map of the sockets ---- */

static void expect(int fd, const char *message, const char *answer, int *given)
{
	char said[256] = "", control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {.iov_base = said, .iov_len = sizeof(said) - 1};
	struct msghdr m = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *beside;

	if (send(fd, message, strlen(message), 0) < 0 || recvmsg(fd, &m, 0) < 0)
		die(message);
	if (strcmp(said, answer)) {
		fprintf(stderr, "%s was answered %s\n", message, said);
		exit(2);
	}
	beside = CMSG_FIRSTHDR(&m);
	if (given)
		*given = beside && beside->cmsg_type == SCM_RIGHTS ? *(int *)CMSG_DATA(beside) : -1;
}

static int map_by_handshake(const char *path, const char *interface)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), map = -1;
	char host[128] = "", message[256];

	strncpy(at.sun_path, path, sizeof(at.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)))
		die(path);
	gethostname(host, sizeof(host) - 1);
	snprintf(message, sizeof(message), "/connect,%s", host);
	expect(fd, message, "/host_ok", NULL);
	expect(fd, "/version", "0.1", NULL);
	snprintf(message, sizeof(message), "/xsk_map_fd,%s", interface);
	expect(fd, message, "/fd_ack", &map);
	expect(fd, "/fin", "/fin_ack", NULL);
	close(fd);
	return map;
}

static int find_map(const char *path, const char *interface)
{
	size_t length = strlen(path);
	union bpf_attr attr;
	int map;

	if (length > 5 && !strcmp(path + length - 5, ".sock"))
		return map_by_handshake(path, interface);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)path;
	map = bpf(BPF_OBJ_GET, &attr);
	if (map < 0)
		die(path);
	return map;
}

/* ---- a socket ---- */

/* Sends one frame; returns when the kernel has done with it. */
static void transmit(struct xsk *x, const uint8_t *frame, uint32_t length)
{
	uint32_t at = *x->tx.producer, slot = at % RING;
	struct xdp_desc *entry = &((struct xdp_desc *)x->tx.entries)[slot];

	entry->addr = (uint64_t)(RING + slot) * FRAME;
	entry->len = length;
	entry->options = 0;
	memcpy(x->frames + entry->addr, frame, length);
	__atomic_store_n(x->tx.producer, at + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(x->done.producer, __ATOMIC_ACQUIRE) == *x->done.consumer) {
		if (sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY &&
		    errno != ENOBUFS)
			die("send");
	}
	__atomic_store_n(x->done.consumer, *x->done.consumer + 1, __ATOMIC_RELEASE);
}

/* ---- packets ---- */

struct datagram {
	struct ethhdr *eth;
	void *ip, *sender, *receiver; /* the last two are addresses */
	struct udphdr *udp;
	size_t address, length; /* octets of an address, and of header and text */
	char *text;
};

static uint32_t sum(uint32_t so_far, const void *data, size_t length)
{
	const uint8_t *octets = data;

	for (size_t i = 0; i < length; i++)
		so_far += octets[i] << (i % 2 ? 0 : 8);
	return so_far;
}

static uint16_t folded(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

static uint16_t udp_sum(const struct datagram *d)
{
	uint32_t pseudo = sum(sum(0, d->sender, d->address), d->receiver, d->address) + IPPROTO_UDP + d->length;

	return folded(sum(pseudo, d->udp, d->length));
}

static bool is_datagram(uint8_t *frame, uint32_t length, struct datagram *d)
{
	struct iphdr *four = (void *)(frame + ETH_HLEN);
	struct ip6_hdr *six = (void *)(frame + ETH_HLEN);

	d->eth = (void *)frame;
	d->ip = four;
	if (length >= ETH_HLEN + sizeof(*four) + sizeof(struct udphdr) && d->eth->h_proto == htons(ETH_P_IP)) {
		if (four->protocol != IPPROTO_UDP || four->ihl != 5 || ntohs(four->frag_off) & 0x3fff)
			return false;
		*d = (struct datagram){d->eth, four, &four->saddr, &four->daddr, (void *)(four + 1), 4, 0, NULL};
	} else if (length >= ETH_HLEN + sizeof(*six) + sizeof(struct udphdr) && d->eth->h_proto == htons(ETH_P_IPV6)) {
		if (six->ip6_nxt != IPPROTO_UDP)
			return false;
		*d = (struct datagram){d->eth, six, &six->ip6_src, &six->ip6_dst, (void *)(six + 1), 16, 0, NULL};
	} else {
		return false;
	}
	d->length = ntohs(d->udp->len);
	d->text = (char *)(d->udp + 1);
	return d->length >= sizeof(struct udphdr) && (uint8_t *)d->udp + d->length <= frame + length;
}

static bool sums_hold(const struct datagram *d)
{
	if (d->address == 4 && folded(sum(0, d->ip, sizeof(struct iphdr))) != 0xffff)
		return false;
	return d->udp->check && udp_sum(d) == 0xffff;
}

/* Fills in lengths and sums; returns the frame's length. */
static uint32_t finished(struct datagram *d, size_t text)
{
	struct iphdr *four = d->ip;
	struct ip6_hdr *six = d->ip;
	uint16_t total;

	d->length = sizeof(struct udphdr) + text;
	d->udp->len = htons(d->length);
	d->udp->check = 0;
	total = ~udp_sum(d);
	d->udp->check = htons(total ? total : 0xffff);
	if (d->address == 4) {
		four->tot_len = htons(sizeof(*four) + d->length);
		four->check = 0;
		four->check = htons(~folded(sum(0, four, sizeof(*four))));
	} else {
		six->ip6_plen = htons(d->length);
	}
	return (uint8_t *)d->text + text - (uint8_t *)d->eth;
}

static void swap(void *one, void *other, size_t length)
{
	uint8_t kept[16];

	memcpy(kept, one, length);
	memcpy(one, other, length);
	memcpy(other, kept, length);
}

static size_t told(const struct seen *s, unsigned queues, char *to, size_t room)
{
	size_t at = snprintf(to, room, "{\"letters\":{");
	const char *comma = "";

	for (int letter = '0'; letter <= 'z'; letter++) {
		if (s->letters[letter] && letter != '\\') {
			at += snprintf(to + at, room - at, "%s\"%c\":%lu", comma, letter, s->letters[letter]);
			comma = ",";
		}
	}
	at += snprintf(to + at, room - at, "},\"wrong\":%lu,\"other\":%lu,\"queues\":[", s->wrong, s->other);
	for (unsigned q = 0; q < queues; q++)
		at += snprintf(to + at, room - at, "%s%lu", q ? "," : "", s->queues[q]);
	return at + snprintf(to + at, room - at, "]}");
}

static void echo(struct xsk *x, uint8_t *frame, uint32_t length, struct seen *s, unsigned queues)
{
	struct datagram d;
	size_t text;

	if (!is_datagram(frame, length, &d)) {
		s->other++;
		return;
	}
	if (!sums_hold(&d)) {
		s->wrong++;
		return;
	}
	text = d.length - sizeof(struct udphdr);
	if (text == 1 && *d.text == '?')
		text = told(s, queues, d.text, FRAME - 512);
	else if (text)
		s->letters[*d.text & (LETTERS - 1)]++;
	swap(d.eth->h_source, d.eth->h_dest, ETH_ALEN);
	swap(d.sender, d.receiver, d.address);
	swap(&d.udp->source, &d.udp->dest, sizeof(d.udp->source));
	transmit(x, frame, finished(&d, text));
}

/* ---- the two that ask ---- */

static uint32_t question(uint8_t *frame, const char *interface, char **what)
{
	/* bpf/dp/packet/addr.h */
	static const uint8_t NODE_MAC[ETH_ALEN] = {0xee, 0xee, 0xee, 0xee, 0xee, 0xee};
	struct datagram d = {.eth = (void *)frame, .ip = frame + ETH_HLEN};
	bool is_six = strchr(what[0], ':');
	struct ifreq own = {};
	int probe = socket(AF_INET, SOCK_DGRAM, 0);

	strncpy(own.ifr_name, interface, IFNAMSIZ - 1);
	if (ioctl(probe, SIOCGIFHWADDR, &own))
		die(interface);
	close(probe);
	memcpy(d.eth->h_source, own.ifr_hwaddr.sa_data, ETH_ALEN);
	memcpy(d.eth->h_dest, NODE_MAC, ETH_ALEN);
	if (is_six) {
		struct ip6_hdr *six = d.ip;

		d.eth->h_proto = htons(ETH_P_IPV6);
		*six = (struct ip6_hdr){.ip6_flow = htonl(6 << 28), .ip6_nxt = IPPROTO_UDP, .ip6_hlim = TTL};
		d.sender = &six->ip6_src, d.receiver = &six->ip6_dst, d.udp = (void *)(six + 1), d.address = 16;
	} else {
		struct iphdr *four = d.ip;

		d.eth->h_proto = htons(ETH_P_IP);
		*four = (struct iphdr){.version = 4, .ihl = 5, .ttl = TTL, .protocol = IPPROTO_UDP};
		d.sender = &four->saddr, d.receiver = &four->daddr, d.udp = (void *)(four + 1), d.address = 4;
	}
	if (inet_pton(is_six ? AF_INET6 : AF_INET, what[0], d.sender) != 1 ||
	    inet_pton(is_six ? AF_INET6 : AF_INET, what[1], d.receiver) != 1)
		die("address");
	d.udp->source = htons(20000 + getpid() % 20000);
	d.udp->dest = htons(atoi(what[2]));
	d.text = (char *)(d.udp + 1);
	strcpy(d.text, what[3]);
	return finished(&d, strlen(what[3]));
}

static void print_answer(uint8_t *frame, uint32_t length)
{
	char from[INET6_ADDRSTRLEN];
	struct datagram d;

	if (!is_datagram(frame, length, &d) || !sums_hold(&d))
		return;
	inet_ntop(d.address == 4 ? AF_INET : AF_INET6, d.sender, from, sizeof(from));
	printf("%s %u %.*s\n", from, ntohs(d.udp->source), (int)(d.length - sizeof(struct udphdr)), d.text);
	exit(0);
}

int main(int argc, char **argv)
{
	static uint8_t asked[FRAME] __attribute__((aligned(8)));
	bool is_echo = argc == 5 && !strcmp(argv[1], "echo");
	unsigned ifindex, queues;
	struct pollfd waits[MOST_QUEUES];
	struct xsk sockets[MOST_QUEUES];
	long long started = (now_ns() / 1000000), sent = 0;
	struct seen seen = {};
	uint32_t length = 0;
	int map;

	if (!is_echo && !(argc == 10 && !strcmp(argv[1], "ask")))
		return 64;
	ifindex = if_nametoindex(argv[2]);
	queues = atoi(argv[3]);
	if (!ifindex || !queues || queues > MOST_QUEUES)
		return 64;
	map = find_map(argv[4], argv[2]);
	for (unsigned q = 0; q < queues; q++) {
		sockets[q] = open_socket(ifindex, q, map);
		waits[q] = (struct pollfd){.fd = sockets[q].fd, .events = POLLIN};
	}
	if (!is_echo)
		length = question(asked, argv[2], argv + 5);
	else if (puts("ready") < 0 || fflush(stdout))
		return 1;
	for (;;) {
		if (!is_echo && (now_ns() / 1000000) - started > atoi(argv[9]))
			return 3;
		if (!is_echo && (now_ns() / 1000000) - sent > AGAIN_MS) {
			transmit(&sockets[0], asked, length);
			sent = (now_ns() / 1000000);
		}
		poll(waits, queues, AGAIN_MS);
		for (unsigned q = 0; q < queues; q++) {
			struct xsk *x = &sockets[q];

			while (*x->rx.consumer != __atomic_load_n(x->rx.producer, __ATOMIC_ACQUIRE)) {
				struct xdp_desc d = ((struct xdp_desc *)x->rx.entries)[*x->rx.consumer % RING];
				uint32_t at = *x->fill.producer;

				if (is_echo)
					echo(x, x->frames + d.addr, d.len, &seen, queues);
				else
					print_answer(x->frames + d.addr, d.len);
				seen.queues[q]++;
				__atomic_store_n(x->rx.consumer, *x->rx.consumer + 1, __ATOMIC_RELEASE);
				((uint64_t *)x->fill.entries)[at % RING] = d.addr & ~(uint64_t)(FRAME - 1);
				__atomic_store_n(x->fill.producer, at + 1, __ATOMIC_RELEASE);
			}
		}
	}
}
