// SPDX-License-Identifier: Apache-2.0
/*
 * A netlink batch: requests and sysctls, one after the other without Python between them. What is asked for a pod is a
 * dozen system calls, and a thread that goes back to the interpreter after each waits there for all others. So a batch
 * also fills in by itself what only the kernel knows before: the numbers of the devices that it makes.
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

enum { ANSWER = 1 << 17 }; /* a device with all the other names that it can have is told in 67 thousand octets */

/* The kernel makes one device at a time; batches that wait for it here do not spin there. */
static pthread_mutex_t alone_lock = PTHREAD_MUTEX_INITIALIZER;

/* A sysctl's path means that of the namespace in which it is opened. */
static int open_sysctl(const struct shim_part *part)
{
	int home, fd;

	if (part->netns < 0)
		return open(part->path, O_WRONLY | O_CLOEXEC);
	home = shim_go(part->netns);
	if (home < 0)
		return -1;
	fd = open(part->path, O_WRONLY | O_CLOEXEC);
	shim_come_back(home);
	return fd;
}

static int set_sysctl(const struct shim_part *part)
{
	int fd = open_sysctl(part), err = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* a kernel without IPv6 lacks some */
	if (write(fd, part->bytes, part->size) < 0)
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

static void name_device(const struct shim_part *part, const struct shim_device *first)
{
	uint32_t number = part->end == SHIM_PEER ? first->peer : (uint32_t)first->index, left = part->size, there;

	for (struct nlmsghdr *m = (void *)part->bytes; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		void *at = device_in(m);

		if (at && (memcpy(&there, at, sizeof(there)), !there))
			memcpy(at, &number, sizeof(number));
	}
}

static struct shim_device device_of(struct nlmsghdr *m)
{
	const struct ifinfomsg *device = NLMSG_DATA(m);
	struct shim_device found = {.index = device->ifi_index};
	int left = IFLA_PAYLOAD(m);

	for (struct rtattr *a = IFLA_RTA(device); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		size_t size = RTA_PAYLOAD(a);

		if (a->rta_type == IFLA_MTU && size == sizeof(found.mtu))
			memcpy(&found.mtu, RTA_DATA(a), size);
		if (a->rta_type == IFLA_LINK && size == sizeof(found.peer))
			memcpy(&found.peer, RTA_DATA(a), size);
		if (a->rta_type == IFLA_ADDRESS && size == sizeof(found.mac))
			memcpy(found.mac, RTA_DATA(a), size);
		if (a->rta_type == IFLA_OPERSTATE && size == sizeof(found.state))
			memcpy(&found.state, RTA_DATA(a), size);
	}
	return found;
}

/* Sends, and reads until the last request is answered; devices in the answers go behind *used of `devices`. */
static int ask(const struct shim_part *part, struct shim_device *devices, uint32_t room, uint32_t *used,
	       uint32_t *request)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER];
	int err = 0;

	if (send(part->fd, part->bytes, part->size, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t got = recv(part->fd, answer, sizeof(answer), MSG_TRUNC);
		uint32_t left = got < 0 ? 0 : got;

		if (got < 0)
			return -errno;
		if (left > sizeof(answer))
			return -EMSGSIZE;
		for (struct nlmsghdr *m = (void *)answer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			const struct nlmsgerr *error = NLMSG_DATA(m);

			if (m->nlmsg_type == NLMSG_ERROR && part->errors && m->nlmsg_seq <= part->last)
				part->errors[m->nlmsg_seq] = error->error;
			else if (m->nlmsg_type == NLMSG_ERROR && error->error && !err) {
				err = error->error;
				*request = m->nlmsg_seq;
			}
			if (m->nlmsg_type == RTM_NEWLINK && *used < room)
				devices[(*used)++] = device_of(m);
			if (m->nlmsg_seq == part->last)
				return err;
		}
	}
}

static int do_part(const struct shim_part *part, struct shim_device *devices, uint32_t room, uint32_t *used,
		   uint32_t *request)
{
	if (part->fd < 0)
		return set_sysctl(part);
	if (part->end != SHIM_NOBODY && !*used)
		return -ENODEV;
	if (part->end != SHIM_NOBODY)
		name_device(part, devices);
	return ask(part, devices, room, used, request);
}

int shim_batch(const struct shim_part *parts, uint32_t n, struct shim_device *devices, uint32_t *size, uint32_t *part,
	       uint32_t *request, int alone)
{
	uint32_t room = *size;
	int err = 0;

	*size = *request = 0;
	if (alone)
		pthread_mutex_lock(&alone_lock);
	for (*part = 0; *part < n && !err; ++*part)
		err = do_part(&parts[*part], devices, room, size, request);
	if (alone)
		pthread_mutex_unlock(&alone_lock);
	*part -= err != 0;
	return err;
}
