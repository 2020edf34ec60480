/* SPDX-License-Identifier: Apache-2.0 */
/* What the extension adds to libbpf: its log, kernel records flattened for Python, Maglev tables, netlink batches. */
#ifndef SLUICEWAY_SHIM_H
#define SLUICEWAY_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* libbpf's messages go to a buffer of the calling thread; of too many, the last are kept. */
void shim_log_install(void);
size_t shim_log_take(char *to, size_t room);

struct shim_link {
	uint32_t type; /* enum bpf_link_type */
	uint32_t id;
	uint32_t prog_id;
	uint32_t attach_type;
	uint32_t ifindex; /* tcx, XDP; 0: the device is gone */
	uint64_t cgroup_id;
};

int shim_link_info(int fd, struct shim_link *to);

/* The program ids, and the ids of the links that hold them (0: none), on a hook. Returns how many, or -errno. */
int shim_query(int target, int attach_type, uint32_t *programs, uint32_t *links, uint32_t room);

/* tc's clsact: one program, always under the same handle and priority. */
enum shim_tc { SHIM_TC_HANDLE = 1, SHIM_TC_PRIORITY = 1 };
int shim_tc_attach(int ifindex, int ingress, int prog_fd);
int shim_tc_detach(int ifindex, int ingress);
int shim_tc_query(int ifindex, int ingress, uint32_t *prog_id);

/* The next id after *id of programs ('p'), maps ('m') or links ('l'). */
int shim_next_id(char what, uint32_t id, uint32_t *next);

/* Returns when every program has ended that ran at the call, on whatever CPU: 0, or -errno. Takes tens of milliseconds. */
int shim_wait(void);

/* An object's BTF as the kernel holds it; the size, or -errno. With room 0 only the size. */
int64_t shim_btf(uint32_t id, void *to, uint32_t room);

/* One write, update or delete, of n elements; *n says afterwards how many were done. */
int shim_map_update(int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size, uint32_t *n);
int shim_map_delete(int fd, const void *keys, uint32_t key_size, uint32_t *n);

/* Write those of n elements whose key is not there yet, one by one; *n says how many were added. */
int shim_map_add(int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size, uint32_t *n);

/* How many entries a hash holds. */
int64_t shim_map_count(int fd, uint32_t key_size, uint32_t value_size, uint32_t max_entries);

/* The flow table in memory: what its maps are like is set before shim_flows_map(), which sets the rest. */
struct shim_flows {
	uint32_t buckets;
	uint32_t bucket_size;
	uint32_t ways;
	uint32_t entry_size;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t without; /* entries with one of these flags are passed over */
	void *lines;	  /* the buckets */
	void *entries;	  /* each bucket's, one behind the other */
	/* of each entry the first words of its value as they were read last: only what has changed is read; NULL: all is */
	uint64_t *known;
};

int shim_flows_map(int buckets, int entries, struct shim_flows *f);
void shim_flows_unmap(struct shim_flows *f);

/* Copies entries from *bucket on, which is moved on, until there is no room for another bucket's. Returns how many. */
uint32_t shim_flows_read(const struct shim_flows *f, uint32_t *bucket, void *keys, void *values, uint32_t room);

/* How many entries there are; *counts (or NULL) of each bucket. */
uint64_t shim_flows_count(const struct shim_flows *f, uint32_t *counts);

/* How many lookup tables a set has whose backends weigh n together, a power of two. */
uint32_t shim_maglev_parts(uint32_t n);

/*
 * The tables of n backends, 1 to 65,535, one after the other: tables[i] becomes the slot number of a backend. A key is
 * 18 bytes, address and port in network order; the tables depend on the keys and their weights, 1 and more, and on nothing else.
 * -1: no memory.
 */
int shim_maglev(const uint8_t *keys, const uint16_t *slots, const uint16_t *weights, uint32_t n, uint16_t *tables,
		uint32_t part_slots);

/* The device whose number goes where a part's messages name none; both stand in the first answer of the batch. */
enum shim_end {
	SHIM_NOBODY, /* the messages are whole */
	SHIM_DEVICE, /* of the answer */
	SHIM_PEER,   /* its other end */
};

/* A part of a batch: the text of a sysctl, or netlink messages of which `last` is the sequence of the last. */
struct shim_part {
	int fd;		  /* a netlink socket; -1: a sysctl */
	int netns;	  /* where the sysctl is; -1: in the calling thread's */
	const char *path; /* of the sysctl */
	char *bytes;	  /* device numbers are filled in */
	uint32_t size;
	uint32_t last;
	uint32_t end;	 /* enum shim_end */
	int32_t *errors; /* one for each message, 0 or -errno: a refusal of one is then none of the part; or NULL */
};

/* What the kernel answers about a device. */
struct shim_device {
	int32_t index;
	uint32_t mtu;
	uint32_t peer; /* of a veth: the other end's index in its own namespace */
	uint8_t mac[6];
	uint8_t state; /* IF_OPER_* */
	uint8_t pad;
};

/*
 * Does parts until one is refused: 0, or -errno with *part and, of messages, the *request that it was. The messages of
 * a part that stand behind a refused one are done. Devices in the answers are in `devices`, *size of them. With
 * `alone`, one batch at a time.
 */
int shim_batch(const struct shim_part *parts, uint32_t n, struct shim_device *devices, uint32_t *size, uint32_t *part,
	       uint32_t *request, int alone);

/* Has the calling thread in another namespace: the descriptor of its own, or -1. One that cannot come back dies. */
int shim_go(int netns);
void shim_come_back(int home);

/* What a pod's veth is made from; all descriptors are closed by shim_netns_close(). */
struct shim_netns {
	int netns;	  /* the pod's namespace */
	int node;	  /* a netlink socket in the calling thread's namespace */
	int pod;	  /* and in the pod's */
	int without_ipv6; /* devices are born so there */
	uint64_t cookie;  /* of the pod's namespace */
};

enum shim_refusal {
	SHIM_NO_PATH = 1,  /* errno says why */
	SHIM_NO_NETNS,	   /* the path leads to something else */
	SHIM_OWN_NETNS,	   /* it leads to the calling thread's own namespace */
	SHIM_NOT_ENTERED,  /* errno says why */
	SHIM_NO_RESOURCES, /* so it does of a socket, or of our own namespace */
};

/* Opens a pod's namespace by its path: 0, or enum shim_refusal. Nothing is left open then. */
int shim_netns_open(const char *path, int may_be_own, struct shim_netns *to);
void shim_netns_close(const struct shim_netns *netns);

#endif
