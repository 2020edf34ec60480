// SPDX-License-Identifier: Apache-2.0
/*
 * Executes a CNI plugin as a container runtime does, so many calls at once, each from a thread of its own.
 *
 *   calls AT-ONCE COMMAND PLUGIN CONFIGURATION LIFE NETNS...
 *
 * The container's id is the last part of the namespace's path and LIFE, the interface is eth0. Prints one line per call:
 * nanoseconds from before the process was made until its end was seen, exit code, and what it printed when that is not 0.
 */
#define _GNU_SOURCE /* pipe2() */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "program.h"

enum { ANSWER_MAX = 1 << 16, CONFIG_MAX = 1 << 16, STACK = 1 << 18, AT_ONCE_MAX = 256 };

static const char *command, *plugin, *life;
static char config[CONFIG_MAX];
static size_t config_size;
static pthread_barrier_t together;

struct call {
	const char *netns;
	long long ns;
	int code;
	char said[ANSWER_MAX];
};

/* The plugin with these ends of its pipes; its process. */
static pid_t start(const char *netns, int in, int out)
{
	char container[256], space[256], folder[256], name[256];
	char *argv[] = {(char *)plugin, NULL};
	const char *slash = strrchr(plugin, '/');
	char *environment[] = {name, container, space, "CNI_IFNAME=eth0", folder, getenv("CALLS_SOCKET"), NULL};
	posix_spawn_file_actions_t files;
	pid_t process;

	snprintf(name, sizeof(name), "CNI_COMMAND=%s", command);
	snprintf(container, sizeof(container), "CNI_CONTAINERID=%s-%s", strrchr(netns, '/') + 1, life);
	snprintf(space, sizeof(space), "CNI_NETNS=%s", netns);
	snprintf(folder, sizeof(folder), "CNI_PATH=%.*s", (int)(slash - plugin), plugin);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	if (posix_spawn(&process, plugin, &files, NULL, argv, environment))
		die(plugin);
	posix_spawn_file_actions_destroy(&files);
	return process;
}

static void *run(void *argument)
{
	struct call *call = argument;
	int in[2], out[2], status;
	size_t have = 0;
	long long began;
	pid_t process;
	ssize_t n;

	pthread_barrier_wait(&together);
	began = now_ns();
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		die("pipe");
	process = start(call->netns, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	if (write(in[1], config, config_size) != (ssize_t)config_size && errno != EPIPE)
		die("write to the plugin");
	close(in[1]);
	while ((n = read(out[0], call->said + have, ANSWER_MAX - 1 - have)) > 0)
		have += n;
	close(out[0]);
	for (char *c = call->said; *c; c++)
		if (*c == '\n')
			*c = ' ';
	if (waitpid(process, &status, 0) != process)
		die("wait for the plugin");
	call->ns = now_ns() - began;
	call->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return NULL;
}

/* So many at once, and all their ends. */
static void round_of(struct call *calls, int number)
{
	pthread_t threads[AT_ONCE_MAX];
	pthread_attr_t small;

	pthread_barrier_init(&together, NULL, number);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK);
	for (int i = 0; i < number; i++)
		if (pthread_create(&threads[i], &small, run, &calls[i]))
			die("a thread");
	for (int i = 0; i < number; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&together);
}

int main(int argc, char **argv)
{
	int number = argc - 6, at_once = argc > 6 ? atoi(argv[1]) : 0, fd;
	struct call *calls = calloc(argc, sizeof(*calls));

	if (at_once < 1 || at_once > AT_ONCE_MAX || !calls) {
		fprintf(stderr, "calls AT-ONCE COMMAND PLUGIN CONFIGURATION LIFE NETNS...\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	command = argv[2];
	plugin = argv[3];
	life = argv[5];
	fd = open(argv[4], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (config_size = read(fd, config, sizeof(config))) > sizeof(config))
		die(argv[4]);
	for (int i = 0; i < number; i++)
		calls[i].netns = argv[6 + i];
	for (int i = 0; i < number; i += at_once)
		round_of(calls + i, number - i < at_once ? number - i : at_once);
	for (int i = 0; i < number; i++)
		printf("%lld %d %s\n", calls[i].ns, calls[i].code, calls[i].code ? calls[i].said : "");
	return 0;
}
