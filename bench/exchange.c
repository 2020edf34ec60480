// SPDX-License-Identifier: Apache-2.0
/*
 * Two processes that talk from one network namespace to another, for a while.
 *
 *   exchange SERVER-NETNS CLIENT-NETNS stream|tcp|udp ADDRESS PORT MILLISECONDS
 *
 * stream sends as much as goes through one connection and prints how many octets the server had, and the nanoseconds
 * until it had them all; tcp and udp send one octet there and back and print how often. Client and server share the
 * CPU that they are given.
 */
#define _GNU_SOURCE /* setns() */
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "program.h"

enum { WRITTEN = 128 << 10, WARM = 50, WAIT_S = 5 };

/* Linux's default, whatever this machine's is: one that paces (BBR) would have its timers measured */
#define CONGESTION_CONTROL "cubic"

static char octets[WRITTEN];

static struct addrinfo *address(const char *host, const char *port, int kind)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = kind}, *found;

	if (getaddrinfo(host, port, &hints, &found))
		die(host);
	return found;
}

static int make(const struct addrinfo *a)
{
	struct timeval wait = {.tv_sec = WAIT_S};
	int s = socket(a->ai_family, a->ai_socktype, 0), on = 1;

	if (s < 0 || setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) ||
	    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		die("socket");
	if (a->ai_socktype == SOCK_STREAM && setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		die("TCP_NODELAY");
	if (a->ai_socktype == SOCK_STREAM &&
	    setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, CONGESTION_CONTROL, strlen(CONGESTION_CONTROL)))
		die("TCP_CONGESTION");
	return s;
}

static int server(const struct addrinfo *a)
{
	int s = make(a);

	if (bind(s, a->ai_addr, a->ai_addrlen) || (a->ai_socktype == SOCK_STREAM && listen(s, 1)))
		die("listen");
	return s;
}

static int client(const struct addrinfo *a)
{
	int s = make(a);

	if (connect(s, a->ai_addr, a->ai_addrlen))
		die("connect");
	return s;
}

/* Takes all that comes, and says at the end how much it was. */
static void swallow(int s)
{
	long long sum = 0;
	ssize_t got;

	while ((got = recv(s, octets, WRITTEN, 0)) > 0)
		sum += got;
	if (got < 0 || send(s, &sum, sizeof(sum), MSG_NOSIGNAL) != sizeof(sum))
		die("swallow");
}

static void echo(int s)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	ssize_t got;

	while ((got = recvfrom(s, octets, 1, 0, (struct sockaddr *)&from, &len)) == 1) {
		if (sendto(s, octets, 1, MSG_NOSIGNAL, (struct sockaddr *)&from, len) != 1)
			die("echo");
		len = sizeof(from);
	}
}

static void serve(int s, bool is_stream, bool is_udp)
{
	int c = is_udp ? s : accept(s, NULL, NULL), on = 1;

	if (c < 0 || (!is_udp && setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))))
		die("accept");
	if (is_stream)
		swallow(c);
	else
		echo(c);
}

static void once(int s)
{
	if (send(s, octets, 1, MSG_NOSIGNAL) != 1 || recv(s, octets, 1, 0) != 1)
		die("transaction");
}

static long long transactions(int s, long long end)
{
	long long count = 0;

	do {
		once(s);
		count++;
	} while (now_ns() < end);
	return count;
}

static long long stream(int s, long long end)
{
	long long sum = 0, had;
	ssize_t sent;

	do {
		sent = send(s, octets, WRITTEN, MSG_NOSIGNAL);
		if (sent < 0)
			die("stream");
		sum += sent;
	} while (now_ns() < end);
	if (shutdown(s, SHUT_WR) || recv(s, &had, sizeof(had), MSG_WAITALL) != sizeof(had))
		die("the stream's end");
	if (had != sum) {
		fprintf(stderr, "exchange: %lld octets were sent and %lld arrived\n", sum, had);
		exit(1);
	}
	return sum;
}

int main(int argc, char **argv)
{
	bool is_udp = argc == 7 && !strcmp(argv[3], "udp"), is_stream = argc == 7 && !strcmp(argv[3], "stream");
	long long start, end, count;
	struct addrinfo *at;
	pid_t child;
	int s;

	if (argc != 7) {
		fprintf(stderr, "exchange: six arguments are wanted, see the source\n");
		return 2;
	}
	at = address(argv[4], argv[5], is_udp ? SOCK_DGRAM : SOCK_STREAM);
	enter(argv[1]);
	s = server(at);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(s, is_stream, is_udp);
		return 0;
	}
	close(s);
	enter(argv[2]);
	s = client(at);
	for (int i = 0; i < WARM && !is_stream; i++)
		once(s);
	start = now_ns();
	end = start + atoll(argv[6]) * 1000000;
	count = is_stream ? stream(s, end) : transactions(s, end);
	printf("%lld %lld\n", count, now_ns() - start);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
