/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CNI plugin that a container runtime executes.  It carries the request (CNI_* environment and stdin) to the
 * agent's unix socket and prints the answer; the agent does the work.  VERSION needs no agent.
 *
 *   musl-gcc -static -O2 -Wall -Wextra -Werror -o build/cni/sluiceway-cni cni/sluiceway-cni.c
 *
 * Request:  u32 length, "KEY=VALUE\0" ...; u32 length, stdin.   Answer: u32 exit code; u32 length, stdout.
 * All numbers big-endian.  A DEL or GC that finds no agent is left as a file with the request's bytes in
 * <directory of the socket>/cni-intents; the agent applies it at start, before it serves, and each second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/sluiceway/cni.sock"
#define SUPPORTED "\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""

enum {
	STDIN_MAX = 1 << 20, /* a GC list of 8,000 attachments fits; the agent has the same limit */
	ENVIRONMENT_MAX = 1 << 16,
	ASKED_AT_MAX = 48,	/* the variable that we add */
	CONNECT_WAIT_MS = 4000, /* an agent that is being replaced is back sooner */
	INTENT_MAX = 512,	/* a path: the socket's directory, container id, interface name */
	ANSWER_WAIT_S = 55,	/* below the runtime's own patience of minutes */
};

/* The CNI specification's codes ("Error", table). */
enum { CNI_ENVIRONMENT = 4, CNI_IO = 5, CNI_DECODE = 6, CNI_TRY_LATER = 11, CNI_UNAVAILABLE = 50 };

extern char **environ;

struct request {
	const char *command;
	char version[16]; /* cniVersion of the configuration, for errors */
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *bytes; /* the frame */
	size_t size;
};

/* The error as JSON on stdout, where runtimes read it; returns the exit code. */
static int fail(const struct request *r, int code, const char *text, const char *details)
{
	printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"", r->version, code, text);
	for (; *details; details++) {
		unsigned char c = *details;

		if (c < ' ')
			printf("\\u%04x", c);
		else
			printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	puts("\"}");
	return code;
}

/* Everything on stdin after the frame's environment; -1 when it is more than STDIN_MAX. */
static ssize_t read_all(char *to, size_t max)
{
	size_t have = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, to + have, max + 1 - have)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		have += n;
		if (have > max)
			return -1;
	}
	return have;
}

/* The behind-the-end of the JSON string that opens at s. */
static const char *string_end(const char *s)
{
	for (s++; *s && *s != '"'; s++)
		if (*s == '\\' && s[1])
			s++;
	return *s ? s + 1 : s;
}

/* Copies the plain string under a key of the outermost object; leaves `to` alone when there is none that fits. */
static void find_string(const char *json, const char *key, char *to, size_t size)
{
	size_t length = strlen(key);
	int depth = 0;

	for (const char *s = json; *s; s++) {
		if (*s == '{' || *s == '[')
			depth++;
		if (*s == '}' || *s == ']')
			depth--;
		if (*s != '"')
			continue;
		const char *end = string_end(s);
		const char *value = end + strspn(end, " \t\r\n");
		int found = depth == 1 && *value == ':' && (size_t)(end - s) == length + 2 &&
			    !strncmp(s + 1, key, length);

		s = end - 1;
		if (!found)
			continue;
		value++;
		value += strspn(value, " \t\r\n");
		end = string_end(value);
		length = end - value;
		if (*value == '"' && length > 2 && length - 2 < size && !memchr(value, '\\', length)) {
			memcpy(to, value + 1, length - 2);
			to[length - 2] = 0;
		}
		return;
	}
}

static void put_length(char *at, uint32_t length)
{
	length = htonl(length);
	memcpy(at, &length, sizeof(length));
}

/* When the runtime asked: what is attached later is not meant by its GC or DEL. Returns the octets written. */
static size_t put_asked_at(char *at)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return snprintf(at, ASKED_AT_MAX, "SLUICEWAY_ASKED_AT=%lld", now.tv_sec * 1000000000LL + now.tv_nsec) + 1;
}

/* Builds the frame; 0, or an exit code after having said why. */
static int read_request(struct request *r)
{
	size_t at = 4;
	ssize_t length;
	const char *path;

	r->bytes = calloc(1, 8 + ENVIRONMENT_MAX + STDIN_MAX + 2);
	if (!r->bytes)
		return fail(r, CNI_IO, "out of memory", "");
	for (char **e = environ; *e; e++) {
		size_t size = strlen(*e) + 1;

		if (strncmp(*e, "CNI_", 4))
			continue;
		if (at + size > 4 + ENVIRONMENT_MAX)
			return fail(r, CNI_ENVIRONMENT, "the CNI_ environment is over 64 KiB", "");
		memcpy(r->bytes + at, *e, size);
		at += size;
	}
	if (at + ASKED_AT_MAX > 4 + ENVIRONMENT_MAX)
		return fail(r, CNI_ENVIRONMENT, "the CNI_ environment is over 64 KiB", "");
	at += put_asked_at(r->bytes + at);
	put_length(r->bytes, at - 4);
	length = read_all(r->bytes + at + 4, STDIN_MAX);
	if (length < 0)
		return fail(r, CNI_DECODE, "the configuration on stdin is over 1 MiB", "");
	put_length(r->bytes + at, length);
	r->size = at + 4 + length;

	find_string(r->bytes + at + 4, "cniVersion", r->version, sizeof(r->version));
	if (strspn(r->version, "0123456789.") != strlen(r->version))
		strcpy(r->version, "1.0.0");
	find_string(r->bytes + at + 4, "socket", r->socket, sizeof(r->socket));
	path = getenv("SLUICEWAY_CNI_SOCKET");
	if (path && *path && strlen(path) < sizeof(r->socket))
		strcpy(r->socket, path);
	return 0;
}

/* A connection to the agent, tried for that long; -1 when there is none. */
static int connect_agent(const struct request *r, int wait_ms)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_WAIT_S};
	struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};

	memcpy(to.sun_path, r->socket, sizeof(to.sun_path));
	for (;; wait_ms -= 50) {
		int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (s < 0)
			return -1;
		setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (!connect(s, (struct sockaddr *)&to, sizeof(to)))
			return s;
		close(s);
		if (wait_ms <= 0)
			return -1;
		nanosleep(&pause, NULL);
	}
}

static int write_all(int fd, const char *from, size_t size)
{
	while (size) {
		ssize_t n = write(fd, from, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		from += n;
		size -= n;
	}
	return 0;
}

static int receive(int s, void *to, size_t size)
{
	return recv(s, to, size, MSG_WAITALL) == (ssize_t)size ? 0 : -1;
}

/* Asks and prints the answer; its exit code, or -1 when the agent went away before it had answered. */
static int ask(const struct request *r, int s)
{
	uint32_t head[2];
	char *text = NULL;
	int code = -1;

	if (write_all(s, r->bytes, r->size) || receive(s, head, sizeof(head)))
		goto out;
	text = malloc(ntohl(head[1]) + 1UL);
	if (!text || receive(s, text, ntohl(head[1])))
		goto out;
	code = ntohl(head[0]);
	if (write_all(STDOUT_FILENO, text, ntohl(head[1])))
		code = CNI_IO;
out:
	free(text);
	close(s);
	return code;
}

static int is_file_name(const char *name)
{
	return name && *name && *name != '.' && !strchr(name, '/');
}

/* The request as a file, atomically; 0 when it stands. The directory is not fsynced: a reboot voids attachments. */
static int write_intent(const struct request *r, char path[INTENT_MAX])
{
	const char *id = getenv("CNI_CONTAINERID"), *interface = getenv("CNI_IFNAME"); /* sound, if not GC */
	char run[sizeof(r->socket)], directory[sizeof(run) + 16], draft[sizeof(directory) + 16];
	int gc = !strcmp(r->command, "GC"), fd, failed;

	strcpy(run, r->socket);
	*strrchr(run, '/') = 0;
	snprintf(directory, sizeof(directory), "%s/cni-intents", run);
	snprintf(draft, sizeof(draft), "%s/.%d", directory, getpid());
	mkdir(run, 0755);
	mkdir(directory, 0700);
	if (gc)
		snprintf(path, INTENT_MAX, "%s/gc", directory);
	else /* ':' stands in neither name, so "gc" is no pod's */
		snprintf(path, INTENT_MAX, "%s/%.128s:%.15s", directory, id, interface);
	fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	failed = write_all(fd, r->bytes, r->size) | fsync(fd) | close(fd);
	if (failed || rename(draft, path)) {
		unlink(draft);
		return -1;
	}
	return 0;
}

/*
 * No agent: the clean-up is promised to its next start.  It may have started between our look and our file, so we
 * look again; it binds its socket before it reads the intents, so one of the two sees the request.
 */
static int leave_intent(const struct request *r)
{
	char path[INTENT_MAX];
	int failed, reason, s, code;

	if (strcmp(r->command, "GC") && !is_file_name(getenv("CNI_CONTAINERID")))
		return fail(r, CNI_ENVIRONMENT, "CNI_CONTAINERID: is no container id", "");
	if (strcmp(r->command, "GC") && !is_file_name(getenv("CNI_IFNAME")))
		return fail(r, CNI_ENVIRONMENT, "CNI_IFNAME: is no interface name", "");
	failed = write_intent(r, path);
	reason = errno;
	s = connect_agent(r, 0);
	code = s < 0 ? -1 : ask(r, s);

	if (code >= 0) {
		if (!failed)
			unlink(path);
		return code;
	}
	if (!failed)
		return 0;
	return fail(r, CNI_IO, "no agent, and its cni-intents directory cannot be written", strerror(reason));
}

int main(void)
{
	struct request r = {.command = getenv("CNI_COMMAND"), .version = "1.0.0", .socket = DEFAULT_SOCKET};
	int s, code, cleans;

	signal(SIGPIPE, SIG_IGN);
	if (!r.command || !*r.command)
		return fail(&r, CNI_ENVIRONMENT, "CNI_COMMAND is not set: a container runtime runs this program", "");
	if (!strcmp(r.command, "VERSION"))
		return puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[" SUPPORTED "]}") < 0;
	code = read_request(&r);
	if (code)
		return code;
	if (*r.socket != '/')
		return fail(&r, CNI_ENVIRONMENT, "the agent's socket is no absolute path", r.socket);

	cleans = !strcmp(r.command, "DEL") || !strcmp(r.command, "GC");
	s = connect_agent(&r, cleans || !strcmp(r.command, "STATUS") ? 0 : CONNECT_WAIT_MS);
	code = s < 0 ? -1 : ask(&r, s);
	if (code >= 0)
		return code;
	if (cleans)
		return leave_intent(&r);
	if (!strcmp(r.command, "STATUS"))
		return fail(&r, CNI_UNAVAILABLE, "sluiceway-agent does not answer", r.socket);
	return fail(&r, CNI_TRY_LATER, "sluiceway-agent does not answer", r.socket);
}
