// SPDX-License-Identifier: Apache-2.0
/*
 * Connections one after another from one network namespace to another: connect, 64 octets there and back, close.
 *
 *   connections SERVER-NETNS CLIENT-NETNS CGROUP-PROCS LISTEN-ADDRESS:PORT CONNECT-ADDRESS:PORT MILLISECONDS
 *
 * prints how many there were, and the nanoseconds that they took. Client and server share the CPU that they are given.
 */
#define _GNU_SOURCE /* setns() */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "program.h"

enum { OCTETS = 64, BACKLOG = 128, WAIT_S = 5 };

/* Before it makes a socket: a socket's cgroup is that of its maker, for good. */
static void join(const char *procs)
{
	FILE *f = fopen(procs, "w");

	if (!f || fprintf(f, "%d", getpid()) < 0 || fclose(f))
		die(procs);
}

static struct sockaddr_in address(char *text)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	char *colon = strchr(text, ':');

	if (!colon)
		die(text);
	*colon = 0;
	if (inet_pton(AF_INET, text, &a.sin_addr) != 1)
		die(text);
	a.sin_port = htons(atoi(colon + 1));
	return a;
}

static int tcp_socket(void)
{
	struct timeval wait = {.tv_sec = WAIT_S};
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0 || setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)))
		die("socket");
	return s;
}

static int listener(struct sockaddr_in at)
{
	int s = tcp_socket(), on = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(s, (struct sockaddr *)&at, sizeof(at)) || listen(s, BACKLOG))
		die("listen");
	return s;
}

static void serve(int s)
{
	char octets[OCTETS];

	for (;;) {
		int c = accept(s, NULL, NULL);

		if (c < 0)
			die("accept");
		if (recv(c, octets, OCTETS, MSG_WAITALL) != OCTETS || send(c, octets, OCTETS, MSG_NOSIGNAL) != OCTETS)
			die("serve");
		if (recv(c, octets, OCTETS, 0) != 0) /* the client closes first */
			die("serve: more than was agreed");
		close(c);
	}
}

static void once(struct sockaddr_in to)
{
	char octets[OCTETS] = {0};
	int s = tcp_socket();

	if (connect(s, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	if (send(s, octets, OCTETS, MSG_NOSIGNAL) != OCTETS || recv(s, octets, OCTETS, MSG_WAITALL) != OCTETS)
		die("exchange");
	close(s);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at, to;
	long long start, end;
	long count = 0;
	pid_t server;
	int s;

	if (argc != 7) {
		fprintf(stderr, "connections: six arguments are wanted, see the source\n");
		return 2;
	}
	at = address(argv[4]);
	to = address(argv[5]);
	enter(argv[1]);
	s = listener(at);
	server = fork();
	if (server < 0)
		die("fork");
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(s);
	}
	close(s);
	enter(argv[2]);
	join(argv[3]);
	for (int i = 0; i < 50; i++)
		once(to);
	start = now_ns();
	end = start + atoll(argv[6]) * 1000000;
	do {
		once(to);
		count++;
	} while (now_ns() < end);
	printf("%ld %lld\n", count, now_ns() - start);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return 0;
}
