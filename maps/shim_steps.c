// SPDX-License-Identifier: Apache-2.0
/*
 * Knobs and netlink requests, one after the other without Python between them: what is asked for a pod is a dozen system
 * calls, and a thread that goes back to the interpreter after each waits there for all others. So a row also fills in by
 * itself what only the kernel knows before: the numbers of the devices that it makes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim.h"

enum { ANSWER = 1 << 14 }; /* a device is told in less than two thousand octets */

/* The kernel makes one device at a time; rows that wait for it here do not spin there. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* A knob's path means that of the namespace in which it is opened. */
static int open_knob(const struct shim_step *step)
{
	int home, fd;

	if (step->netns < 0)
		return open(step->path, O_WRONLY | O_CLOEXEC);
	home = shim_go(step->netns);
	if (home < 0)
		return -1;
	fd = open(step->path, O_WRONLY | O_CLOEXEC);
	shim_come_back(home);
	return fd;
}

static int set_knob(const struct shim_step *step)
{
	int fd = open_knob(step), err = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* a kernel without IPv6 lacks some */
	if (write(fd, step->bytes, step->size) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Where a message names its device: ifinfomsg, ifaddrmsg, ndmsg and tcmsg do so at one place, routes by an attribute. */
static void *device_in(struct nlmsghdr *m)
{
	int left = RTM_PAYLOAD(m);

	if (m->nlmsg_type != RTM_NEWROUTE)
		return (char *)NLMSG_DATA(m) + offsetof(struct ifinfomsg, ifi_index);
	for (struct rtattr *a = RTM_RTA(NLMSG_DATA(m)); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTA_OIF)
			return RTA_DATA(a);
	return NULL;
}

static void name_device(const struct shim_step *step, const struct shim_device *first)
{
	uint32_t number = step->end == SHIM_PEER ? first->peer : (uint32_t)first->index, left = step->size, there;

	for (struct nlmsghdr *m = (void *)step->bytes; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		void *at = device_in(m);

		if (at && (memcpy(&there, at, sizeof(there)), !there))
			memcpy(at, &number, sizeof(number));
	}
}

static struct shim_device told(struct nlmsghdr *m)
{
	const struct ifinfomsg *device = NLMSG_DATA(m);
	struct shim_device link = {.index = device->ifi_index};
	int left = IFLA_PAYLOAD(m);

	for (struct rtattr *a = IFLA_RTA(device); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		size_t size = RTA_PAYLOAD(a);

		if (a->rta_type == IFLA_MTU && size == sizeof(link.mtu))
			memcpy(&link.mtu, RTA_DATA(a), size);
		if (a->rta_type == IFLA_LINK && size == sizeof(link.peer))
			memcpy(&link.peer, RTA_DATA(a), size);
		if (a->rta_type == IFLA_ADDRESS && size == sizeof(link.mac))
			memcpy(link.mac, RTA_DATA(a), size);
		if (a->rta_type == IFLA_OPERSTATE && size == sizeof(link.state))
			memcpy(&link.state, RTA_DATA(a), size);
	}
	return link;
}

/* Sends, and reads until the last request is answered; devices that are told of go behind *used of `links`. */
static int ask(const struct shim_step *step, struct shim_device *links, uint32_t room, uint32_t *used,
	       uint32_t *request)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER];
	int err = 0;

	if (send(step->fd, step->bytes, step->size, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t got = recv(step->fd, answer, sizeof(answer), 0);
		uint32_t left = got < 0 ? 0 : got;

		if (got < 0)
			return -errno;
		for (struct nlmsghdr *m = (void *)answer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			const struct nlmsgerr *said = NLMSG_DATA(m);

			if (m->nlmsg_type == NLMSG_ERROR && said->error && !err) {
				err = said->error;
				*request = m->nlmsg_seq;
			}
			if (m->nlmsg_type == RTM_NEWLINK && *used < room)
				links[(*used)++] = told(m);
			if (m->nlmsg_seq == step->last)
				return err;
		}
	}
}

static int take(const struct shim_step *step, struct shim_device *links, uint32_t room, uint32_t *used,
		uint32_t *request)
{
	if (step->fd < 0)
		return set_knob(step);
	if (step->end != SHIM_NOBODY && !*used)
		return -ENODEV;
	if (step->end != SHIM_NOBODY)
		name_device(step, links);
	return ask(step, links, room, used, request);
}

int shim_steps(const struct shim_step *steps, uint32_t n, struct shim_device *links, uint32_t *size, uint32_t *step,
	       uint32_t *request, int alone)
{
	uint32_t room = *size;
	int err = 0;

	*size = *request = 0;
	if (alone)
		pthread_mutex_lock(&turn);
	for (*step = 0; *step < n && !err; ++*step)
		err = take(&steps[*step], links, room, size, request);
	if (alone)
		pthread_mutex_unlock(&turn);
	*step -= err != 0;
	return err;
}
