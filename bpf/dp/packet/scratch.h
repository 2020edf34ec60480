/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What is too large for the 512 octets of stack that a program and its functions share. One per CPU and object: our
 * programs run with bottom halves off, and none interrupts another. Each user writes before it reads.
 */
#ifndef SLUICEWAY_SCRATCH_H
#define SLUICEWAY_SCRATCH_H

#include "dp/abi/flow.h"
#include "dp/abi/fragment.h"
#include "dp/abi/peer.h"
#include "dp/abi/prefix.h"
#include "dp/abi/service.h"
#include "dp/config.h"
#include "dp/packet/hop.h"
#include "dp/packet/packet.h"

/* Where an entry of the flow table can be, and for one that is about to be stored, where it is put. */
struct flow_place {
	__u32 first; /* buckets */
	__u32 second;
	__u32 tag;
	__u32 flags;  /* BPF_NOEXIST: where there is none */
	__u32 bucket; /* the one that an entry is put into */
	__u32 room;   /* free ways of the first that it may be put into */
	__u32 owner;  /* who begins it: index of shares */
	__u32 own;    /* entries that are its owner's; 0: it has no share to keep to */
};

/* One direction of a flow: from here to there. */
struct tuple {
	ip_addr src;
	ip_addr dst;
	__be16 sport;
	__be16 dport;
	__u8 protocol;
	__u8 pad[3];
};

/* What an ICMP error quotes, and where in the frame it stands. */
struct quote {
	struct tuple t; /* of the quoted packet, as its sender sent it */
	__u32 l3;
	__u32 l4;
	__u32 src_hi;	  /* the quoted source is the hi end of its flow's key */
	__sum16 ip_check; /* IPv4 */
};

/* A fresh flow's two entries, apart from what they translate to. */
struct nat_pair {
	struct tuple mapping;	     /* what the backend is sent */
	struct peer_location client; /* where each is, the same in both */
	struct peer_location backend;
	__u32 set_id;
	__u32 set_revision;
	__u32 flags; /* enum flow_flag */
	__u16 slot;
	__u16 way;
};

/* The conntrack context: a packet's place in its flow, which itself is no state: its pointer cannot be kept. */
struct ct_ctx {
	__u32 epoch;	  /* the flow cache's, read before all that is looked up for the packet */
	__u32 revision;	  /* struct node's, likewise */
	__u32 cached;	  /* index of the flow's cached copy that holds, on this CPU; CACHE_NONE: none */
	__u32 place;	  /* and of its copy whether it holds or not */
	__u32 is_beside;  /* the key is that of a flow beside another's answers */
	__u32 is_current; /* the flow's ends are where they were found, and nothing is to be looked at again */
	__u32 why;	  /* enum drop_reason: why the flow that was found may not go on */
	__u32 is_ended;	  /* the flow that was found is being ended */
	__u32 unkept;	  /* enum drop_reason: why the flow that has begun has no entry; DROP_NONE: it has */
	__u32 src_hi;	  /* which end of the key the source is, 0 or 1 */
};

/* What policy judges: the client as it is known by itself, the server as it is after translation. */
struct policy_question {
	ip_addr client;
	ip_addr server;
	struct peer_location client_at;
	struct peer_location server_at;
	__be16 port;   /* the server's */
	__u8 protocol; /* 0: none that rules with ports can mean */
	__u8 pad;
};

struct scratch {
	struct packet packet;	/* the one being processed */
	struct forward forward; /* what becomes of it */
	struct peer_location sender;
	struct flow_key key; /* its flow's */
	struct ct_ctx ct;
	struct flow_key half;  /* of one of a NAT pair's entries */
	struct flow_key other; /* of an entry that is looked at beside the flow's own */
	struct flow found;     /* what the packet's entry said, whole */
	struct flow flow;      /* about to be stored */
	struct nat_pair pair;  /* about to begin */
	struct policy_question question;
	struct peer_key peer;
	struct prefix_key range;
	__u32 policy; /* whose rules decided last */
	struct quote quote;
	struct tuple inner;
	struct tuple outer;
	struct service_addr_key address; /* about to be looked up */
	struct bpf_fib_lookup route;	 /* what the kernel is asked, and answers */
	struct bpf_sock_tuple socket;	 /* whom it is asked for */
	ip_addr way_src;		 /* of a translated packet: by which source its way out is asked for */
	ip_addr asked;			 /* the service's address, with forward's asked_port */
	__be32 reply[28]; /* what a sender is told: a whole ICMP message, or TCP header and the one that it answers */
	struct flow_place place; /* of an entry that is about to be stored */
	struct fragment_key datagram;
	struct fragment fragment; /* about to be stored */
	__u32 fence;
	__u32 entering; /* the pod's device at which a packet will be that needs no more judging: see enter.h; 0: none */
	__u32 entries;	/* that this CPU has made */
	__u32 fill;	/* of the flow table, as seen by where these were put: see flow_insert.h */
	__u32 drops;	/* that this CPU has kept */
	__u32 option;	/* of an SCTP packet's parameters, that is read next */
	__u8 options[64]; /* of a TCP header, which has 40 octets of them at most */
	__be32 part[128]; /* of a packet that is divided: what is summed up, or what it begins with */
	__u64 tick;	  /* jiffies when moment was read */
	__u32 moment;
	__u32 sum; /* of a packet that is divided */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps") PRIVATE;

/* Never NULL, but the verifier wants to hear it. */
static __always_inline struct scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

/*
 * What was read before is read before all that follows, and so with what is written, on CPUs too that keep no such order: an
 * exchange is a full barrier in BPF (Documentation/bpf/standardization, and the kernel's atomic_t.txt). In memory of this
 * CPU's own it waits for nobody.
 */
static __always_inline void fence(void)
{
	struct scratch *work = scratch();

	if (work)
		__sync_lock_test_and_set(&work->fence, 1);
}

/* What Linux has on x86 alone. */
struct pt_regs___x86 {
	unsigned long orig_ax;
} __attribute__((preserve_access_index));

/*
 * What was read before is read before what is read afterwards. x86 reads in the program's order by itself (Intel SDM 3A
 * 9.2.2, AMD APM 2 7.2), and an exchange there would wait for all that is still under way.
 */
static __always_inline void fence_reads(void)
{
	if (bpf_core_field_exists(struct pt_regs___x86, orig_ax))
		barrier();
	else
		fence();
}

/* What was written before is seen before what is written afterwards. x86 keeps this order too (the same chapters). */
static __always_inline void fence_writes(void)
{
	fence_reads();
}

/*
 * Time in units of 2^27 ns (0.13 s), read once a tick: the coarse clock stands still between ticks, and asking it costs as
 * much as a lookup.
 */
static __always_inline __u32 tick_moment(void)
{
	struct scratch *work = scratch();
	__u64 tick = bpf_jiffies64();

	if (!work)
		return 0;
	if (work->tick != tick) {
		work->tick = tick;
		work->moment = in_moments(bpf_ktime_get_coarse_ns());
	}
	return work->moment;
}

/* now_s(), read once a tick. */
static __always_inline __u32 tick_s(void)
{
	return tick_moment() / MOMENTS;
}

/* For the packet that is processed next: as yet it goes to the stack. */
static __always_inline struct scratch *scratch_fresh(const ctx_t *ctx, enum hook hook)
{
	struct scratch *work = scratch();

	if (!work)
		return NULL;
	memset(&work->packet, 0, sizeof(work->packet));
	memset(&work->forward, 0, sizeof(work->forward));
	work->policy = 0;
	work->forward.hook = hook;
	work->forward.octets = ctx_length(ctx);
	return work;
}

#endif
