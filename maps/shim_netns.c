// SPDX-License-Identifier: Apache-2.0
/*
 * A pod's network namespace, opened by its path, checked and visited, with all that its veth is made from: some twenty
 * system calls without Python between them, as in shim_netlink.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "shim.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* since Linux 5.14 */
#endif

static const char own[] = "/proc/thread-self/ns/net";
static const char born_without[] = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
static const struct timeval patience = {.tv_sec = 30}; /* the kernel answers within the write, but for a broken one */

int shim_go(int netns)
{
	int home = open(own, O_RDONLY | O_CLOEXEC), err;

	if (home < 0 || !setns(netns, CLONE_NEWNET))
		return home;
	err = errno;
	close(home);
	errno = err;
	return -1;
}

void shim_come_back(int home)
{
	int err = errno;

	if (setns(home, CLONE_NEWNET))
		_exit(99);
	close(home);
	errno = err;
}

static int is_set(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = '0';

	if (fd < 0)
		return 0; /* a kernel without IPv6 */
	if (read(fd, &value, 1) != 1)
		value = '0';
	close(fd);
	return value != '0';
}

static int netlink_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* 0, or why the descriptor is no pod's namespace. */
static int checked(int netns, int may_be_own)
{
	struct stat here, there;

	if (stat(own, &here) || fstat(netns, &there))
		return SHIM_NO_RESOURCES;
	if (here.st_dev != there.st_dev || ioctl(netns, NS_GET_NSTYPE) != CLONE_NEWNET)
		return SHIM_NO_NETNS;
	return here.st_ino == there.st_ino && !may_be_own ? SHIM_OWN_NETNS : 0;
}

static int visit(struct shim_netns *to)
{
	socklen_t size = sizeof(to->cookie);
	int home = shim_go(to->netns);

	if (home < 0)
		return SHIM_NOT_ENTERED;
	to->pod = netlink_socket();
	to->without_ipv6 = is_set(born_without);
	shim_come_back(home);
	to->node = netlink_socket();
	if (to->pod < 0 || to->node < 0 || getsockopt(to->pod, SOL_SOCKET, SO_NETNS_COOKIE, &to->cookie, &size))
		return SHIM_NO_RESOURCES;
	return 0;
}

int shim_netns_open(const char *path, int may_be_own, struct shim_netns *to)
{
	int err;

	*to = (struct shim_netns){.netns = open(path, O_RDONLY | O_CLOEXEC), .node = -1, .pod = -1};
	if (to->netns < 0)
		return SHIM_NO_PATH;
	err = checked(to->netns, may_be_own);
	if (!err)
		err = visit(to);
	if (err)
		shim_netns_close(to);
	return err;
}

void shim_netns_close(const struct shim_netns *netns)
{
	const int all[] = {netns->netns, netns->node, netns->pod};
	int err = errno;

	for (unsigned int i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] >= 0)
			close(all[i]);
	errno = err;
}
