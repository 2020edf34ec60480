/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every key, value, counter and enum that Python sees.  maps/abi.py is generated from it, through BTF. */
#ifndef SLUICEWAY_ABI_H
#define SLUICEWAY_ABI_H

#include <linux/types.h>

/* A member that the programs or the writing itself keep: the agent does not compare it with what it wants. */
#define LIVE __attribute__((btf_decl_tag(":live")))

/* An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d, network order: one path serves both families. */
typedef struct {
	__be32 w[4];
} ip_addr;

/* An Ethernet address, as it stands on the wire. */
typedef struct {
	__u8 b[6];
} mac_addr;

/* ---- why a packet left the path -------------------------------------------------------------------------- */

/* Zero is no reason: the packet goes on.  Values are appended, never reused; no two causes share one. */
enum drop_reason {
	DROP_NONE,
	DROP_SHORT_PACKET,	/* ends inside a header it announces */
	DROP_BAD_HEADER,	/* an IP header whose version or length field is impossible */
	DROP_EXTENSION_HEADERS, /* more IPv6 extension headers than are followed */
	DROP_MAPPED_ADDRESS,	/* an IPv6 packet that carries an address in ::ffff:0:0/96 */
	DROP_ETHERTYPE,		/* a pod sent neither IPv4, IPv6 nor ARP */
	DROP_SOURCE_MAC,	/* a pod sent from a MAC that is not its own */
	DROP_SOURCE_ADDRESS,	/* a pod sent from an address that is not its own, nor of who it routes for */
	DROP_NO_BACKEND,	/* the service has no endpoint; the sender was refused */
	DROP_NO_BACKEND_SILENT, /* the service has no endpoint; the packet was not one that can be answered */
	DROP_NO_LOCAL_BACKEND,	/* traffic policy Local, and no endpoint on this node */
	DROP_BACKEND_LOST,	/* a service's table names a backend that is not there */
	DROP_CONNTRACK_FULL,	/* a translated flow needs an entry and the table is full */
	DROP_NAT_PORTS,		/* every source port tried for a translation is taken */
	DROP_NAT_ADDRESS,	/* source translation needed, the node has no address of the family */
	DROP_REWRITE,		/* the kernel refused to change the packet */
	DROP_NO_ROUTE,		/* a translated or encapsulated packet for which the kernel has no route */
	DROP_TTL,		/* a translated packet whose TTL or hop limit is spent */
	DROP_NO_TUNNEL,		/* for the tunnel, and no node is known behind it for the destination */
	DROP_INGRESS_LIMIT,	/* more is on its way to the pod than its limit lets through */
	DROP_EGRESS_LIMIT,	/* the pod sends more than its limit lets through */
	DROP_TOO_BIG,		/* does not fit the way on, and may not be fragmented; the sender was told */
	DROP_TOO_BIG_SILENT,	/* the same, and not one that can be answered */
	DROP_FRAGMENT_ALONE,	/* a later fragment waited for its datagram's first, which did not come */
	DROP_OWN_SOURCE,	/* came in from outside under an address of this node, of a pod of it, or loopback */
	DROP_VLAN,		/* a pod sent a tagged frame */
	DROP_ARP,		/* a pod's ARP that speaks of another than the pod, or unasked */
	DROP_ND,	    /* a pod's neighbour or router discovery that speaks of another than the pod, or unasked */
	DROP_DHCP_ANSWER,   /* a pod answered for a DHCP server to a link or the node */
	DROP_TUNNEL_POD,    /* a pod sent to a node what is encapsulated as nodes do */
	DROP_TUNNEL_OUTER,  /* encapsulated by somebody who is no node of the cluster */
	DROP_TUNNEL_INNER,  /* encapsulated by a node that may not speak for the source, or not to the destination */
	DROP_TUNNEL_HEADER, /* for the tunnel, under another header than its own */
	DROP_STRAY_SEGMENT, /* a TCP RST or SYN-ACK, or SCTP's like, of a connection that nobody knows and that would be translated */
	DROP_ROUTED_BACK,	/* a pod sent what is for somebody behind itself, for whom it routes */
	DROP_NO_SERVICE,	/* for a service's address, at a port that none has for this sender, who was refused */
	DROP_NO_SERVICE_SILENT, /* the same, and not one that can be answered */
	DROP_SERVICE_SOURCE,	/* came in from outside as from a service, for which nobody outside speaks */
	DROP_NAT_PROTOCOL,   /* a pod's packet to where pods are masqueraded, of a kind that is not: it has no ports */
	DROP_STRAY_ERROR,    /* a pod's ICMP error to where pods are masqueraded, about no flow that is known */
	DROP_NAT_WAY,	     /* its flow's way has moved to where another source is right; the flow begins anew */
	DROP_POLICY_INGRESS, /* no policy of the pod that it is for accepts it, or one denies it */
	DROP_POLICY_EGRESS,  /* no policy of the pod that sends it accepts it, or one denies it */
	DROP_POLICY_UNKNOWN, /* from or for a pod whose rules are not here yet, or that has just gone */
	DROP_SOURCE_RANGE,   /* for a load balancer's address, from outside its service's loadBalancerSourceRanges */
	DROP_DENIED_PREFIX,  /* from a range on the list of those that XDP lets nothing in from */
	DROP_FLOW_MOVES, /* of a connection that is not known while flows are carried to other maps; it is sent again */
	DROP_FLOW_SHARE, /* a flow needs an entry, and who begins it has its share of the table, which is nearly full */
	DROP_SCTP_FRAGMENT, /* begins an SCTP packet in fragments whose port would change, and with it the sum over them all */
	DROP_FLOW_ENDED, /* answers what opened a connection, which begins anew elsewhere at this moment */
	DROP_REASONS,	 /* count, keep last */
};

/* The programs that count. */
enum program {
	PROGRAM_POD,	/* tc_pod: the node's end of a pod's veth */
	PROGRAM_UPLINK, /* tc_uplink: the node's own devices */
	PROGRAM_TUNNEL, /* tc_uplink: the device that encapsulates what the stack sends */
	PROGRAM_XDP,	/* xdp: the node's own devices, before there is a struct sk_buff */
	PROGRAMS,	/* count, keep last */
};

enum direction {
	DIRECTION_INGRESS,
	DIRECTION_EGRESS,
	DIRECTIONS, /* count, keep last */
};

enum {
	/* reasons a program and direction can hold in the counters; index = (program * DIRECTIONS + direction) * 64 + reason */
	COUNTER_REASONS = 64,
	COUNTERS = PROGRAMS * DIRECTIONS * COUNTER_REASONS,
};

/* Packets and bytes of one (program, direction, reason); DROP_NONE counts what was forwarded or left to the stack. */
struct counter {
	__u64 packets;
	__u64 octets; /* of the layer 2 frame */
};

enum {
	DROPS_KEPT = 1024, /* of each CPU, a power of two */
};

enum drop_flag {
	/* it was not dropped: policy would have, were it not for the pod's namespace, which is audited */
	DROP_AUDITED = 1,
};

/* One of the packets that were dropped last. */
struct drop_event {
	__u64 at_ns; /* CLOCK_MONOTONIC; 0: none yet */
	ip_addr src; /* as the packet had them when it was dropped */
	ip_addr dst;
	__be16 sport; /* 0 without ports */
	__be16 dport;
	__u8 protocol;
	__u8 reason;	/* enum drop_reason */
	__u8 hook;	/* program * DIRECTIONS + direction */
	__u8 flags;	/* enum drop_flag */
	__u16 sender;	/* of what policy dropped: the slot of the pod that sent it, 0 without one here */
	__u16 receiver; /* and of the pod that it was for */
	__u16 policy;	/* key of policies; 0: nobody's */
	__u16 pad;
};

/* ---- services -------------------------------------------------------------------------------------------- */

/* Who asks: traffic policies differ for clients inside the cluster and outside. */
enum scope {
	SCOPE_INTERNAL, /* pods and this node's processes */
	SCOPE_EXTERNAL, /* what comes in by the node's devices */
};

/*
 * A service's address, as packets carry it.  A node port stands under the unspecified address of its family
 * (::ffff:0.0.0.0 or ::) and matches every address of this node but those without node ports.
 */
struct service_key {
	ip_addr addr;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 scope;    /* enum scope */
};

/*
 * An address that is a service's. SCOPE_INTERNAL: it is of the cluster alone (clusterIPs). SCOPE_EXTERNAL: it leads in from outside, and who is
 * there may speak under it from other ports (externalIPs, a load balancer's).
 */
struct service_addr_key {
	ip_addr addr;
	__u32 scope; /* enum scope */
};

enum service_flag {
	SERVICE_LOCAL = 1,   /* traffic policy Local: without a backend the packet is dropped, not refused */
	SERVICE_HELD = 2,    /* at a cluster IP that the node has itself: a process of it may answer there */
	SERVICE_RANGED = 4,  /* at a load balancer's address: serves the sources in source_ranges alone */
	SERVICE_BY_PORT = 8, /* SCHEDULER_SH and SCHEDULER_MH: by the client's port too */
	/* who asks from outside keeps its address at another node's pod, which answers by this node */
	SERVICE_TUNNEL = 16,
	SERVICE_DSR = 32, /* or, with SERVICE_TUNNEL too, by its own */
};

/*
 * Sources that a load balancer's address serves, by the backend set that it leads to, which is of one family. prefix_bits counts
 * set_id too.
 */
struct source_range_key {
	__u32 prefix_bits;
	__u32 set_id;
	ip_addr addr;
};

/* Who of a set serves a new flow. Each gives backends flows by their weights. */
enum scheduler {
	SCHEDULER_MAGLEV, /* by the flow's hash, in the set's maglev tables */
	SCHEDULER_RR,	  /* in turn, by the set's ring */
	SCHEDULER_LC,	  /* who of the set's ring has the fewest open flows and sockets of this node's */
	SCHEDULER_SH,	  /* by a hash of the client's address, in the set's maglev tables */
	SCHEDULER_DH,	  /* by a hash of the address that is asked, in these */
	SCHEDULER_MH,	  /* as SCHEDULER_SH; IPVS has two tables for them */
	SCHEDULERS,	  /* count, keep last */
};

struct service {
	__u32 set_id;	  /* which backend set serves it */
	__u32 affinity_s; /* seconds a client stays with its backend since its last new flow; 0: no affinity */
	__u16 backends;	  /* of the set that take new flows; 0 refuses */
	__u16 parts;	  /* of the set's tables, a power of two: a flow's is flow_hash & (parts - 1) */
	__u16 flags;	  /* enum service_flag */
	__u16 slot;	  /* of the one backend, where there is but one: the set's table need not be asked */
	__u8 scheduler;	  /* enum scheduler */
	__u8 pad[3];
};

/* A backend set's place in memory is (set, slot); the slot is the backend's for as long as it is in the set. */
struct backend_key {
	__u32 set_id;
	__u32 slot;
};

enum backend_flag {
	BACKEND_LOCAL = 1, /* on this node: a pod of ours, or the node itself */
};

struct backend {
	ip_addr addr;
	__be16 port;
	__u8 flags;  /* enum backend_flag */
	__u8 weight; /* its share of new flows; 0: those that it has go on, it is given none */
};

enum {
	/* about a hundred for each of the 10 backends that one part serves at most (maps/shim_maglev.c) */
	MAGLEV_SLOTS = 1021,
};

struct maglev_key {
	__u32 set_id;
	__u32 part; /* below struct service's parts */
};

/* Which backend serves a flow: slots[flow_hash * MAGLEV_SLOTS >> 32]. One value, so a part's change is one atomic update. */
struct maglev {
	__u16 slots[MAGLEV_SLOTS];
};

enum {
	RING_PLACES = 511, /* 2 KiB in all */
};

struct ring_key {
	__u32 set_id;
	__u32 part; /* place / RING_PLACES */
};

/*
 * A set's backends one behind the other, in the order in which SCHEDULER_RR takes turns: each as often as its weight says. For
 * SCHEDULER_LC each once. One value, so a part's change is one atomic update; what is behind the ring's end begins it again, so
 * who knows an older length finds backends.
 */
struct ring {
	__u32 length; /* of the whole ring, in every part */
	__u16 slots[RING_PLACES];
	__u16 weights[RING_PLACES]; /* those of the backends there */
};

/* Whose turn it is in a set's ring. */
struct turn {
	__u32 taken LIVE; /* turns; the place is this modulo the ring's length */
};

/*
 * A number that conntrack GC counts again in each of its runs: of a backend the open flows and sockets that this node began. What
 * begins in a run is in what it will have counted where it has passed the place already.
 */
struct load {
	__u32 flows LIVE; /* since the run before, as counted then and kept up since */
	__u32 met LIVE;	  /* of those that the run has passed */
	__u32 run LIVE;	  /* whose numbers these are: struct load_walk's, or one that is over */
};

/* How far conntrack GC has come in counting. One value, under key 0. */
struct load_walk {
	__u32 run;
	__u32 bucket; /* of the flow table: those below have been walked */
	__u32 place;  /* of load_sockets: those below have been walked */
};

/* Who begins flows, as an index of shares: a pod's is its slot and SHARE_PODS. */
enum {
	SHARE_OUTSIDE, /* whoever is not on this node, all together */
	SHARE_NODE,    /* this node's own processes */
	SHARE_PODS,    /* and from here on pods, each with whom it routes for */
};

enum {
	SHARE_LEAST = 256, /* entries that everybody may have while there is room */
	SHARE_TIMES = 4,   /* of those that are free in the flow table, so many times may be one's who begins more */
};

/* What somebody has of the flow table, and what of late was refused. */
struct share {
	struct load entries; /* of the flows that it began */
	__u32 mark;	     /* of conntrack GC's last run that has met one of them, and whether they were few then */
	__u32 refused;	     /* new flows that got no entry, for it had its share */
	__u32 portless;	     /* new flows for which no port was free */
	__u32 refused_s;     /* when either was last, as struct flow's; 0: never */
	__u32 holder;	     /* the attachment's revision then: another's may have the slot since */
};

/* That a service of SCHEDULER_LC was asked, so that there is something to count. One value, under key 0. */
struct load_use {
	__u32 is_used;
};

enum {
	LOAD_PLACES = 32768, /* that are counted, at most; a power of two */
	LOAD_WAYS = 8,	     /* places that one socket can have */
};

/* A socket that was given a backend and is counted there. */
struct load_socket {
	__u64 socket; /* cookie * SOCK_PEERS + place, as struct sock_peer_key's; 0: the place is free */
	__u32 set_id;
	__u32 slot;
};

/* What a backend set is made for, "namespace/name:port/protocol/family/view", so that ids survive the agent. */
struct backend_set {
	char label[192];
};

enum {
	SET_REVISIONS = 4096, /* sets share them by their ids' low bits: one that loses a backend has few others look */
};

/* Raised when a backend has left one of the sets: flows to them look whether theirs is still there. */
struct set_revision {
	__u32 number LIVE;
};

struct affinity_key {
	ip_addr client;
	__u32 set_id;
};

struct affinity {
	ip_addr addr;
	__be16 port;
	__u16 slot;
	__u32 seen_s; /* as struct flow's */
};

enum {
	SOCK_PEERS = 8, /* services at most that a socket is known to have asked; one that asks more forgets some */
};

/* The places of a socket's peers are filled from 0 on, without gaps. */
struct sock_peer_key {
	__u64 cookie; /* of the socket */
	__u32 place;  /* below SOCK_PEERS */
	__u32 pad;
};

/* A service that a socket has asked, and the backend it was given: back to the service's address, and so again next time. */
struct sock_peer {
	ip_addr service;
	ip_addr backend;
	__be16 service_port;
	__be16 backend_port;
	__u32 set_id;
	__u16 slot;
	__u16 pad;
};

/* ---- flows ----------------------------------------------------------------------------------------------- */

/*
 * Both directions of a flow meet in one key: its two ends, ordered so that both directions find the same (the order
 * itself means nothing; flow_key_of() in conntrack.h keeps it).
 */
struct flow_key {
	ip_addr lo_addr;
	ip_addr hi_addr;
	__be16 lo_port;
	__be16 hi_port;
	__u8 protocol;
	__u8 beside;   /* 1: a flow whose ends are already those of a translated one's answers */
	__u16 network; /* 0: as the node's devices see it; else the slot of the VF at which it is seen */
};

enum flow_flag {
	FLOW_ORIGIN_HI = 1,   /* the flow was begun by the hi end */
	FLOW_FORWARD = 2,     /* first of a translated pair: what the client sends */
	FLOW_REVERSE = 4,     /* second of a translated pair: what the backend answers */
	FLOW_REPLIED = 8,     /* the other end has answered */
	FLOW_FIN_ORIGIN = 16, /* TCP FIN seen from the end that began */
	FLOW_FIN_REPLY = 32,  /* TCP FIN seen from the other end */
	FLOW_RESET = 64,      /* TCP RST seen */
	FLOW_EXTERNAL = 128,  /* begun outside the cluster: struct service_key's scope */
	FLOW_BY_STACK = 256,  /* reached a pod through the node's stack, where somebody may have translated it */
	FLOW_ASSURED = 512,   /* not of TCP: packets came a second and more after the first answer */
	FLOW_BESIDE = 2048,   /* the forward entry's key has the ends of another flow's answers */
	/* of who is outside, under its own address, between two nodes: at the client's node, of a pair, to a pod of another
	 * node; at the pod's, of one entry, from the client's node, where its answers go */
	FLOW_TUNNEL = 4096,
	/* of such a flow the pod's node answers the client itself: at the client's node the forward entry, which sees but
	 * what the client sends; at the pod's a FLOW_REVERSE without a forward one, for its client is not translated there */
	FLOW_DSR = 8192,
	FLOW_CARRIED = 16384, /* its entry is a copy from another generation's table */
	FLOW_ENDED = 1024,    /* whoever has set this is about to delete both entries */
};

/* Where one end of a flow is, as far as this node must know: at an attachment of its own, or elsewhere. */
struct peer_location {
	__u32 revision;	 /* the attachment's, when it was found; with another the end is to be found anew */
	__u16 slot;	 /* the attachment's; 0: of no pod here */
	__u16 remote_id; /* key of remotes: reached by encapsulation; REMOTE_*; 0: by the kernel's routes */
};

/*
 * What is known of a flow.  A flow that is not translated has one entry.  A translated one has two that live and die
 * together: FLOW_FORWARD under the client's packet and FLOW_REVERSE under the backend's answer; each holds the
 * packet's addresses after translation, so each names the other.  The end that began it pays for it; where that is on
 * another node, its answers go there.
 *
 * An entry is published whole.  What changes afterwards are seen_s and, in one word with the serial, the flags: the memory of a
 * flow that has ended is another's at once, and a note about the one must not reach the other.
 */
struct flow {
	__u32 serial; /* of this entry alone: half of it from its key, half counted */
	__u32 flags;  /* enum flow_flag */
	ip_addr to_src;
	ip_addr to_dst;
	__be16 to_sport;
	__be16 to_dport;
	struct peer_location ends[2]; /* of lo and hi; a service's side stands for the backend behind it */
	__u32 revision;		      /* struct node's, when ends and service were found */
	__u32 seen_s;		      /* last packet, in units of 2^30 ns of CLOCK_MONOTONIC (1.07 s) */
	__u32 set_id;		      /* FLOW_FORWARD: the set of the backend chosen */
	__u32 set_revision;	      /* the set's, when the backend was chosen */
	__u16 slot;		      /* the backend's in its set */
	__u16 way; /* FLOW_FORWARD: by which device it leaves, where its source is that way's: the ifindex's lower half */
};

enum { FLOW_KEY_WORDS = sizeof(struct flow_key) / sizeof(__u32) };

/* What says which buckets of the flow table a key has: a number for each word of it. */
struct flow_seed {
	__u64 words[FLOW_KEY_WORDS];
};

enum {
	FLOW_WAYS = 14, /* entries that a bucket of the flow table can have */
	FLOW_ROOM = 10, /* that it is reckoned with: so full a table loses no new flow by chance */
};

struct flow_bucket {
	__u32 tags[FLOW_WAYS]; /* what a hash of each way's key says; 0: the way is free */
	__u32 lock;	       /* 1: somebody inserts */
	__u32 elsewhere;       /* entries in their second bucket, whose first this is */
};

/* What is behind a way of a bucket. */
struct flow_entry {
	struct flow_key key;
	struct flow flow;
	__u64 pad;
};

/*
 * One fragmented datagram. IPv6 tells them apart without the protocol (RFC 8200 4.5): in its later fragments stands what
 * follows the fragment header, which may be another extension.
 */
struct fragment_key {
	ip_addr src;
	ip_addr dst;
	__be32 ident;
	__u8 protocol; /* IPv6: 0 */
	__u8 pad;
	__u16 network; /* as struct flow_key's */
};

enum fragment_flag {
	FRAGMENT_FIRST = 1, /* the first has come by; until then, later ones wait */
	FRAGMENT_PORTS = 2, /* and it had ports */
};

/* What is known of a datagram: its ports, kept from its first fragment for the later ones. */
struct fragment {
	__be16 sport;
	__be16 dport;
	__u32 seen_s; /* as struct flow's */
	__u16 flags;  /* enum fragment_flag */
	__u8 protocol;
	__u8 pad;
};

enum slot_state {
	SLOT_FREE,
	SLOT_BUSY, /* somebody writes or sends it */
	SLOT_READY,
};

enum {
	/* places of one group, which all datagrams of a source share: the fragments of 64 KiB in packets of 1,280 fit */
	SLOTS_PER_GROUP = 64,
	SLOT_GROUPS = 16,
	SLOT_OCTETS = 9216, /* of a frame that can wait; a longer one goes on at once */
};

/* A later fragment that came before its datagram's first, and waits for it. */
struct fragment_slot {
	struct fragment_key key;
	__u32 state; /* enum slot_state */
	__u32 length;
	__u32 seen_s; /* as struct flow's */
	__u32 hook;   /* program * DIRECTIONS + direction: where it was kept */
};

/* What the last run of conntrack GC saw. */
struct gc_run {
	__u64 runs;
	__u64 expired; /* flows ended since the map was made */
	__u64 at_ns;   /* CLOCK_MONOTONIC */
	__u32 flows;   /* entries left */
	__u32 unanswered;
};

/* Until when flows are carried to or from these maps, in the unit of each seen_s; 0: they are not. */
struct flow_move {
	__u32 until_s;
};

/* ---- policy ---------------------------------------------------------------------------------------------- */

enum {
	RULES_UNKNOWN = 0, /* nothing passes: nobody has said yet which policies select the pod */
	RULES_NONE = 1,	   /* everything passes: no policy selects it */
	RULES_FIRST = 2,   /* the first number of a rule set */
};

enum policy_verdict {
	POLICY_DENY,
	POLICY_ACCEPT,
};

enum pod_policy_flag {
	POLICY_AUDITED = 1, /* what policy would drop passes, and is counted */
	POLICY_SAID = 2,    /* by the agent, whatever it says: zeros are what nobody has written */
};

/*
 * What policy says of the pod at a slot. It is written before the attachment's revision, so who has read that reads what goes
 * with it, or later.
 */
struct pod_policy {
	__u16 ingress; /* rule set of what is sent to the pod; RULES_* */
	__u16 egress;  /* rule set of what the pod sends */
	__u16 flags;   /* enum pod_policy_flag */
	__u16 network; /* a VF's, by which its peers are known; 0: the cluster's */
};

/* As whom rules of others mean the pod at a slot: written for all pods before one has other rules, which know these. */
struct pod_class {
	__u32 class4; /* peer class of its IPv4 address */
	__u32 class6;
	__u32 said; /* 1, as POLICY_SAID */
};

/*
 * An address that rules mean by who has it: a pod's of another node, or a VF's. Pods of this one have their classes by their slots.
 * A range is the same in all networks.
 */
struct peer_key {
	ip_addr addr;
	__u16 network; /* 0: the cluster's; else the agent's number for a network of VFs */
	__u16 pad;
};

/*
 * A group of addresses that the same peers of this node's rules mean. Its number is this node's own, and stands for the same
 * peers as long as rules name it. 0: meant by none but those that mean everybody.
 */
struct peer_class {
	__u32 number;
};

/* A rule set's rule for a class; class 0 is that of everybody of whom it says no more. */
struct rule_key {
	__u32 rules; /* the rule set's number */
	__u32 peer_class;
};

/* Destination ports of a protocol, both inclusive, host order. */
struct port_range {
	__u16 low;
	__u16 high;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 verdict;  /* enum policy_verdict */
	__u16 policy;  /* whose it is: key of policies; 0: nobody's */
};

enum {
	RULE_RANGES = 7, /* that stand in the rule itself, and make it one cache line */
};

/* What is so for a class: by destination port where a range names it, else the verdict here. No two ranges overlap. */
struct rule {
	__u32 port_list; /* of port_verdicts, where there are more ranges than stand here; 0: there are not */
	__u16 policy;
	__u8 verdict; /* enum policy_verdict */
	__u8 count;   /* of the ranges */
	struct port_range ranges[RULE_RANGES];
};

/* A port of a list, or several that begin with the same bits. prefix_bits counts list, protocol and pad too. */
struct port_verdict_key {
	__u32 prefix_bits;
	__u32 port_list;
	__u8 protocol;
	__u8 pad;
	__be16 port;
};

struct port_verdict {
	__u16 policy;
	__u8 verdict; /* enum policy_verdict */
	__u8 pad;
};

enum {
	DIGEST_OCTETS = 16,
};

/* What a rule set or a peer class is made for, by a digest of that: so numbers survive the agent. */
struct policy_digest {
	__u8 octets[DIGEST_OCTETS];
};

/* Whose rules there are, "NetworkPolicy namespace/name": so a drop has a name when the agent is dead. */
struct policy_name {
	char label[344];
};

/* What was judged by a policy's rules; index of the counters: policy * DIRECTIONS + direction. */
struct policy_counter {
	__u64 accepted; /* flows, each time that they were judged */
	__u64 denied;	/* packets */
	__u64 audited;	/* packets that would have been denied */
};

enum {
	MAX_POLICIES = 16384, /* numbers below this have counters */
};

/* ---- the node -------------------------------------------------------------------------------------------- */

enum endpoint_flag {
	ENDPOINT_NODE = 1,     /* an address of this node itself: no device, the stack has it */
	ENDPOINT_HELD = 2,     /* and one of its devices has it: packets can be sent under it */
	ENDPOINT_NO_PORTS = 4, /* and node ports are not there */
};

/* Who has an address on this node.  Keyed by ip_addr. */
struct endpoint {
	__u16 slot;  /* the attachment's; 0 for the node */
	__u16 flags; /* enum endpoint_flag */
};

enum attachment_flag {
	ATTACHMENT_CHAINED = 1, /* another CNI plugin made the interface: what it sends and is sent goes by the stack */
	ATTACHMENT_AF_XDP =
		2, /* a program at the pod's end has packets before its stack, as bpf_redirect_peer() would not */
};

/*
 * A pod's interface.  Keyed by its slot: a small number that it keeps, and that another gets when it is gone.  Slot 0 is
 * nobody's.
 */
struct attachment {
	__u32 ifindex;	   /* the node's end of the veth; 0: none, for it is a VF, or nobody has the slot */
	__u32 revision;	   /* another one when another has the slot, or when its flows are to be decided anew */
	__u32 endpoint_id; /* the attachment's number */
	mac_addr mac;	   /* of the pod's end */
	__u16 flags;	   /* enum attachment_flag */
	__u8 pad[12];
};

/*
 * What a program before a pod's stack gives to the pod's AF_XDP sockets: a protocol's packets to a range of ports. Unused: protocol 0.
 */
struct steering_rule {
	__u8 protocol;
	__u8 pad;
	__u16 first_port; /* 0 to 65535: also what has no ports */
	__u16 last_port;
};

enum { STEERING_RULES = 16 }; /* of one interface */

enum { OWN_ADDRESSES = 8 }; /* of a VF's interface, with that of its link */

/* What became of a packet at such a program, by which it is counted. */
enum steered {
	STEERED_SOCKET, /* given to the socket of its queue */
	STEERED_STACK,	/* left to the pod's stack */
	STEERED_NOBODY, /* dropped: no socket is at its queue */
	STEERED_BAD,	/* dropped: it could not be read */
	STEERED_COUNT
};

/*
 * How much may pass in one direction (GCRA, ITU-T I.371; at_ns is its theoretical arrival time). What is sent
 * at the rate moves at_ns along with the clock; what is sent faster moves it ahead, burst_ns at most.
 */
struct limit {
	__u64 rate;	  /* bits per second; 0: no limit */
	__u64 burst_ns;	  /* time that the burst takes at the rate */
	__u64 at_ns LIVE; /* CLOCK_MONOTONIC; the programs' own, and theirs alone */
};

/* That a device of the node keeps the time of what it sends. */
struct paced_device {
	__u32 is_paced;
};

/*
 * A device of the node's own whose incoming packets pass uplink_ingress(): what leaves by it under other sources than its senders' has
 * these, where its route names none; zeros: the node's.
 */
struct uplink {
	ip_addr addr4;
	ip_addr addr6;
};

/* An address of a service that this node may announce on the subnet of a device. */
struct announced_key {
	ip_addr addr;
	__u32 ifindex;
};

struct announced {
	mac_addr mac; /* the device's */
	__u8 pad[2];
	__u64 heard_ns LIVE; /* CLOCK_BOOTTIME; when another host last said that it has the address */
};

/* Until when this node answers for what it announces; CLOCK_BOOTTIME, which also counts while the machine sleeps. */
struct announcing {
	__u64 fresh_until_ns; /* nobody else can have taken over */
	__u64 until_ns;	      /* the agent is there, which asks whether somebody has; at the latest it ends here */
};

struct mac_key {
	mac_addr mac;
	__u8 pad[2];
};

struct own_mac {
	__u32 ifindex;
};

/* The limits of an attachment, by its slot. */
struct attachment_limits {
	struct limit ingress; /* to the pod */
	struct limit egress;  /* from the pod */
};

/* A pod's addresses by its network namespace: the client that affinity knows at the socket hooks. */
struct pod_addresses {
	ip_addr addr4; /* zeros: none */
	ip_addr addr6;
};

/* A range of addresses. prefix_bits counts family and pad too: 32 + 96 + 24 for 10.244.1.0/24, 32 + 64 for fd00::/64. */
struct prefix_key {
	__u32 prefix_bits;
	__u8 family; /* 4 or 6: ::/0 does not contain IPv4 */
	__u8 pad[3];
	ip_addr addr;
};

/* Nothing that comes from there is let in. Keyed as prefixes. */
struct denied_prefix {
	__u32 line; /* of the file that names it */
};

enum prefix_flag {
	PREFIX_NO_MASQUERADE = 1, /* pods are seen there under their own addresses */
	PREFIX_NODE = 2,	  /* a node's own address: what it encapsulates is taken */
};

/* A remote_id that names no tunnel; nor does 0, which is wherever the kernel's routes lead. */
enum {
	REMOTE_SELF = 0xfffe,	     /* this node itself */
	REMOTE_BEHIND = 0xfffd,	     /* behind the pod at the slot, which routes for others */
	REMOTE_CLUSTER_IP = 0xfffc,  /* nobody: a service's address of the cluster alone, or one kept for services */
	REMOTE_EXTERNAL_IP = 0xfffb, /* a service's address for those outside: nobody for who asks there */
};

/* What is so of all addresses of a range, unless a longer prefix says otherwise. */
struct prefix {
	__u16 remote_id; /* as struct peer_location's */
	__u16 flags;	 /* enum prefix_flag */
	__u32 node_id;	 /* whose it is: a Node's pods and addresses have one number, by its name; 0: no Node's */
	/* key of remotes: where that Node is sent what is encapsulated although the kernel's routes lead there; 0: nowhere */
	__u16 forward_id;
	__u16 pad;
};

/* The pod that routes for a range of addresses, itself on no pod of this node. Keyed as prefixes. */
struct routed_range {
	__u16 slot; /* its attachment's */
	__u16 pad;
};

/* Another node, as the outer header of what is encapsulated names it. */
struct remote {
	ip_addr addr;
};

enum node_flag {
	NODE_MASQUERADE = 1,	  /* pods go outside under an address of the node */
	NODE_LIMITS = 2,	  /* the limits map has entries */
	NODE_PACED = 4,		  /* so has paced_devices */
	NODE_IPIP = 8,		  /* IP in IP, by headers of our own */
	NODE_GENEVE = 16,	  /* on the wire the VXLAN device's packets are Geneve's */
	NODE_ANY_NETNS = 32,	  /* sockets of every network namespace are served: which are pods' is not known */
	NODE_HOST_ROUTING = 64,	  /* what pods send as it is goes by the stack, but for the tunnel */
	NODE_POLICY = 128,	  /* pods have rules */
	NODE_POLICY_REJECT = 256, /* who is denied is told */
	NODE_CHAINED = 512,	  /* other CNI plugins make the pods' network: what is for pods is left to the stack */
	NODE_NO_LOOPBACK_PORTS4 = 1024, /* the node itself finds no node ports at 127.0.0.0/8 */
	NODE_NO_LOOPBACK_PORTS6 = 2048, /* nor at ::1 */
	NODE_MASQUERADE_ALL = 4096,	/* backends see this node in place of its pods that ask services */
	NODE_SERVES_ALL = 8192,	  /* with NODE_CHAINED: services are served to whoever asks, and not to pods alone */
	NODE_OTHER_PROXY = 16384, /* another proxy serves services: what is for them goes by the stack, untranslated */
};

enum {
	PORT_WORDS = 65536 / 32,
};

/* The ports that nobody has on the node itself, a bit each, the least of a word first: translated flows may keep them. */
struct kept_ports {
	__u32 words[PORT_WORDS];
};

/* What changes while the node runs. One value, under key 0. */
struct node {
	ip_addr addr4; /* source of what is translated, unless its route has another; zeros: none */
	ip_addr addr6;
	__u64 netns_cookie;  /* of the node's own network namespace */
	__u32 revision LIVE; /* raised when an endpoint changes, or a service's address comes or goes */
	__u16 nat_port_min;  /* source ports for translation, host order, inclusive */
	__u16 nat_port_max;
	__u16 node_port_min; /* NodePort range, host order, inclusive */
	__u16 node_port_max;
	__u32 tunnel_ifindex; /* the device that encapsulates, with IPIP the one that has its MTU; 0: nothing is */
	__u32 tunnel_vni;
	__be16 tunnel_port; /* UDP port that other nodes are sent to; 0 with IPIP */
	__u16 flags;	    /* enum node_flag */
	/* with IPIP the device that segments GSO packets which came encapsulated and leave again */
	__u32 segmenter_ifindex;
	__u32 pad;
};

#endif
