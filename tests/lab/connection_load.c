// SPDX-License-Identifier: Apache-2.0
/*
 * Many connections at a steady pace, and what became of each.
 *
 *   connection_load serve PORT     sends back what it is sent, until SIGTERM
 *   connection_load load NEW-ADDRESS PORT RATE KEPT-ADDRESS PORT KEPT
 *                                  until SIGTERM, then prints what it saw as JSON
 *
 * A load makes RATE new connections a second to the one address, each with an exchange of 64 octets, after which the server
 * closes it (so that the client's port is free again), and keeps KEPT connections to the other, on each of which it has such an
 * exchange about every second.
 */
#define _GNU_SOURCE /* accept4() */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "program.h"

enum { OCTETS = 64, MOST = 16384, EVENTS = 256, TURN_MS = 2, BACKLOG = 4096, PATIENCE_S = 5 };
enum state { UNUSED, NEW, KEPT };
enum { LAST = 'l', MORE = 'm' }; /* how the octets begin behind which a connection is closed, or not */

struct target {
	struct sockaddr_storage at;
	socklen_t length;
};

struct connection {
	enum state state;
	bool is_open, is_waiting;
	int received;
	long long since_ns;
};

enum { NOTES = 16, NOTE = 64 }; /* connections that failed, of which each is told, and its text */

struct seen {
	char notes[NOTES * NOTE];
	int noted, notes_length;
	long opened, exchanged, kept, refused, reset, unopened, unanswered, other;
	long long slowest_ns;
	int other_errno;
};

static struct connection connections[MOST];
static struct seen seen;
static volatile sig_atomic_t is_over;

static void end(int signal)
{
	(void)signal;
	is_over = 1;
}

static struct target target_of(const char *address, const char *port)
{
	struct addrinfo hint = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
	struct target to = {0};

	if (getaddrinfo(address, port, &hint, &found))
		die(address);
	memcpy(&to.at, found->ai_addr, found->ai_addrlen);
	to.length = found->ai_addrlen;
	freeaddrinfo(found);
	return to;
}

static void watch(int epoll, int s, __uint32_t events, int op)
{
	struct epoll_event e = {.events = events, .data.fd = s};

	if (epoll_ctl(epoll, op, s, &e))
		die("epoll_ctl");
}

/* What was waited for has come. */
static void came(int s)
{
	long long took = now_ns() - connections[s].since_ns;

	if (took > seen.slowest_ns)
		seen.slowest_ns = took;
}

static void forget(int s)
{
	connections[s].state = UNUSED;
	close(s);
}

/* Keep in mind which connection it was, to be looked for among captured packets: its local port, and how far it had come. */
static void note(int s, int error)
{
	const struct connection *c = &connections[s];
	struct sockaddr_in6 at = {0};
	socklen_t length = sizeof(at);

	if (seen.noted++ >= NOTES || getsockname(s, (struct sockaddr *)&at, &length))
		return;
	seen.notes_length += snprintf(seen.notes + seen.notes_length, NOTE, "%s\"port %d, %s, %d ms: %s\"",
				      seen.notes_length ? ", " : "", ntohs(at.sin6_port),
				      c->is_open ? "open" : "opening", (int)((now_ns() - c->since_ns) / 1000000),
				      strerrorname_np(error));
}

/* One connection did not do what it should: which way it ended. */
static void failed(int s, int error)
{
	note(s, error);
	if (error == ECONNREFUSED)
		seen.refused++;
	else if (error == ECONNRESET || error == EPIPE)
		seen.reset++;
	else if (error == ETIMEDOUT && !connections[s].is_open)
		seen.unopened++;
	else if (error == ETIMEDOUT)
		seen.unanswered++;
	else {
		seen.other++;
		seen.other_errno = error;
	}
	if (connections[s].state == KEPT)
		seen.kept--;
	forget(s);
}

static void begin(int epoll, const struct target *to, enum state state)
{
	int s = socket(to->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (s < 0 || s >= MOST)
		die("socket");
	connections[s] = (struct connection){.state = state, .is_waiting = true, .since_ns = now_ns()};
	watch(epoll, s, EPOLLOUT, EPOLL_CTL_ADD);
	if (connect(s, (const struct sockaddr *)&to->at, to->length) && errno != EINPROGRESS)
		failed(s, errno);
}

static void say(int s)
{
	struct connection *c = &connections[s];
	char octets[OCTETS] = {c->state == NEW ? LAST : MORE};

	c->received = 0;
	c->is_waiting = true;
	c->since_ns = now_ns();
	if (send(s, octets, OCTETS, MSG_NOSIGNAL) != OCTETS)
		failed(s, errno);
}

static void connected(int epoll, int s)
{
	struct connection *c = &connections[s];
	socklen_t length = sizeof(int);
	int error = 0;

	if (getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &length) || error) {
		failed(s, error);
		return;
	}
	came(s);
	c->is_open = true;
	seen.opened++;
	if (c->state == KEPT)
		seen.kept++;
	watch(epoll, s, EPOLLIN, EPOLL_CTL_MOD);
	say(s);
}

static void heard(int s)
{
	struct connection *c = &connections[s];
	char octets[OCTETS];
	ssize_t n = recv(s, octets, OCTETS, 0);

	if (!n && c->state == NEW && c->received == OCTETS) {
		seen.exchanged++;
		came(s);
		forget(s);
		return;
	}
	if (n <= 0) {
		failed(s, n ? errno : EPIPE); /* a server that ends */
		return;
	}
	c->received += n;
	if (c->received < OCTETS || c->state == NEW)
		return;
	seen.exchanged++;
	came(s);
	c->is_waiting = false;
}

static void client_event(int epoll, int s)
{
	if (connections[s].state == UNUSED)
		return;
	if (connections[s].is_open)
		heard(s);
	else
		connected(epoll, s);
}

/* Each kept connection has its turn once a second; who waits for too long is given up. */
static void look_after(int from, int to, long long now)
{
	for (int s = from; s < to; s++) {
		struct connection *c = &connections[s];

		if (c->state == UNUSED)
			continue;
		if (c->is_waiting && now - c->since_ns > PATIENCE_S * 1000000000LL)
			failed(s, ETIMEDOUT);
		else if (c->state == KEPT && !c->is_waiting)
			say(s);
	}
}

static void load(int epoll, struct target fresh, int rate, struct target kept, int count)
{
	struct epoll_event events[EVENTS];
	long long start = now_ns(), turned = 0;
	long begun = 0, opened = 0;

	while (!is_over) {
		int n = epoll_wait(epoll, events, EVENTS, TURN_MS);
		long long now = now_ns(), turns = (now - start) / (TURN_MS * 1000000LL);

		for (int i = 0; i < n; i++)
			client_event(epoll, events[i].data.fd);
		for (; begun < (now - start) * rate / 1000000000; begun++)
			begin(epoll, &fresh, NEW);
		for (; opened < count && opened < (now - start) * count / 1000000000; opened++)
			begin(epoll, &kept, KEPT);
		/* all of them in a second, a part each turn */
		for (; turned < turns; turned++) {
			int parts = 1000 / TURN_MS, part = turned % parts;

			look_after(MOST / parts * part, part == parts - 1 ? MOST : MOST / parts * (part + 1), now);
		}
	}
	printf("{\"opened\": %ld, \"exchanged\": %ld, \"kept\": %ld, \"failed\": {\"refused\": %ld, \"reset\": %ld, "
	       "\"unopened\": %ld, \"unanswered\": %ld, \"other\": %ld}, \"errno\": %d, \"which\": [%s], \"slowest_s\": %.3f}\n",
	       seen.opened, seen.exchanged, seen.kept, seen.refused, seen.reset, seen.unopened, seen.unanswered,
	       seen.other, seen.other_errno, seen.notes, seen.slowest_ns / 1e9);
}

static void serve(int epoll, const char *port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
	struct epoll_event events[EVENTS];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, BACKLOG))
		die("listen");
	watch(epoll, listener, EPOLLIN, EPOLL_CTL_ADD);
	while (!is_over) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int s = events[i].data.fd;
			char octets[4096];
			ssize_t got;

			if (s == listener) {
				int made;

				while ((made = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					watch(epoll, made, EPOLLIN, EPOLL_CTL_ADD);
				continue;
			}
			got = recv(s, octets, sizeof(octets), 0);
			if (got <= 0 || send(s, octets, got, MSG_NOSIGNAL) != got || octets[0] == LAST)
				close(s);
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit files = {MOST, MOST};
	int epoll = epoll_create1(0);

	signal(SIGTERM, end);
	if (epoll < 0 || setrlimit(RLIMIT_NOFILE, &files))
		die("setup");
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(epoll, argv[2]);
	else if (argc == 8 && !strcmp(argv[1], "load"))
		load(epoll, target_of(argv[2], argv[3]), atoi(argv[4]), target_of(argv[5], argv[6]), atoi(argv[7]));
	else
		return 2;
	return 0;
}
