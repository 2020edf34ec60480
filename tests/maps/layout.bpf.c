/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A small object for the tests of maps/: one map of each kind that Table serves, constants, and a program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define DOC(text) __attribute__((btf_decl_tag(text)))
#define LIVE DOC(":live")

typedef struct {
	__be32 w[4];
} ip_addr;

typedef struct {
	__u8 b[6];
} mac_addr;

enum colour {
	COLOUR_RED,
	COLOUR_BLUE = 7,
};

enum lamp_flag {
	LAMP_LIT = 1,
	LAMP_LOUD = 2,
};

struct lamp_key {
	ip_addr addr;
	__be16 port;
	__u16 pad;
};

struct end {
	__u32 ifindex LIVE;
	mac_addr mac;
	__u16 pad;
};

struct lamp {
	ip_addr addr DOC("where it hangs");
	__be32 ident;
	enum colour colour;
	struct end ends[2];
	char label[12];
	__u16 slots[5];
	__u16 flags;
	__u8 code[3];
	__u8 pad;
	__s32 height;
	__u64 seen_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct lamp_key);
	__type(value, struct lamp);
} lamps SEC(".maps") DOC(":agent 7") DOC(":option max_services") DOC(":revises CHANGE");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct end);
} shelves SEC(".maps") DOC(":agent 3");

struct tally {
	__u64 packets;
	__u64 octets;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps") DOC(":programs");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32);
	__type(key, ip_addr);
	__type(value, __u64);
} guests SEC(".maps") DOC(":programs") DOC(":per_cpu 16") DOC(":carried");

/* Python could not be shown what is in it. */
struct alarm {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps") DOC(":private");

const volatile enum lamp_flag __export_lamp_flag = LAMP_LIT;
const volatile __u32 __export_LAMP_MAX = 99;
const volatile mac_addr __export_LAMP_MAC = {{1, 2, 3, 4, 5, 6}};

const volatile __u32 verdict DOC("what the program answers") = 7;
const volatile __u16 step DOC("packets counted for each one seen") = 1;

SEC("tc") int count(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct tally *t = bpf_map_lookup_elem(&tallies, &zero);

	if (t) {
		t->packets += step;
		t->octets += skb->len;
	}
	return verdict;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
