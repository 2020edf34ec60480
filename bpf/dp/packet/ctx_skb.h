/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The packet's buffer at tc: the kernel's struct sk_buff. ctx.h includes it. */
#ifndef SLUICEWAY_CTX_SKB_H
#define SLUICEWAY_CTX_SKB_H

#include "dp/packet/csum.h"

typedef struct __sk_buff ctx_t;

/* The device where the packet is. Volatile: else two reads may become one by a computed pointer, which is refused. */
static __always_inline __u32 ctx_ifindex(const ctx_t *ctx)
{
	return ((const volatile ctx_t *)ctx)->ifindex;
}

/* Octets of the whole frame, also those outside the linear part. */
static __always_inline __u32 ctx_length(const ctx_t *ctx)
{
	return ctx->len;
}

/* Has the frame a VLAN tag? The kernel has taken it off the octets. */
static __always_inline bool ctx_is_tagged(const ctx_t *ctx)
{
	return ctx->vlan_present;
}

enum { VLAN_ID_MASK = 0x0fff };

/*
 * Is the frame a VLAN's? A tag with the ID 0 says a priority and no VLAN (IEEE 802.1Q, table 9-2): it is taken off, and the frame
 * is the device's own, as to the kernel.
 */
static __always_inline bool ctx_is_of_vlan(ctx_t *ctx)
{
	return ctx->vlan_present && (ctx->vlan_tci & VLAN_ID_MASK || bpf_skb_vlan_pop(ctx));
}

/* Octets of data in each segment of a GSO packet; 0: it is none. */
static __always_inline __u32 ctx_gso_size(const ctx_t *ctx)
{
	return ctx->gso_size;
}

/* Makes the first len octets linear; pointers into the packet are dead afterwards. */
static __always_inline bool ctx_pull(ctx_t *ctx, __u32 len)
{
	return bpf_skb_pull_data(ctx, len < ctx->len ? len : ctx->len) == 0;
}

static __always_inline bool ctx_load(const ctx_t *ctx, __u32 at, void *to, __u32 len)
{
	return bpf_skb_load_bytes(ctx, at, to, len) == 0;
}

static __always_inline bool ctx_store(ctx_t *ctx, __u32 at, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, at, from, len, 0) == 0;
}

/* As ctx_store(), where a sum of the whole packet that the kernel trusts (CHECKSUM_COMPLETE) must stay right. */
static __always_inline bool ctx_store_summed(ctx_t *ctx, __u32 at, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, at, from, len, BPF_F_RECOMPUTE_CSUM) == 0;
}

/* Adds diff to a sum of the whole packet that the kernel trusts (CHECKSUM_COMPLETE), where it has one. */
static __always_inline void ctx_csum_complete(ctx_t *ctx, __u32 diff)
{
	bpf_csum_update(ctx, diff);
}

/*
 * Adds diff to the transport checksum at `at`; udp: one of zero says that there is none, and stays (RFC 768). A sum still
 * left to the device (CHECKSUM_PARTIAL) covers the pseudo-header alone, so only the kernel can know which part counts:
 * pseudo says which one diff belongs to.
 */
static __always_inline bool ctx_csum_add(ctx_t *ctx, __u32 at, __u32 diff, bool pseudo, bool udp)
{
	return bpf_l4_csum_replace(ctx, at, 0, diff,
				   (pseudo ? BPF_F_PSEUDO_HDR : 0) | (udp ? BPF_F_MARK_MANGLED_0 : 0)) == 0;
}

/* Fields of the kernel's struct sk_buff that struct __sk_buff does not show. */
struct sk_buff___hidden {
	__u8 ip_summed : 2;
	__u8 ignore_df : 1;
	__u16 mac_len;
	__u16 mac_header;
	unsigned char *head;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak; /* Linux 6.3 */

/* What the transport's checksum field holds. */
static __always_inline enum ctx_sum ctx_sum(ctx_t *ctx, bool udp)
{
	enum { NONE, UNNECESSARY, COMPLETE, PARTIAL }; /* CHECKSUM_ of include/linux/skbuff.h */
	struct sk_buff___hidden *skb;

	if (!bpf_ksym_exists(bpf_cast_to_kern_ctx))
		return CTX_SUM_OTHER;
	skb = bpf_cast_to_kern_ctx(ctx);
	switch (BPF_CORE_READ_BITFIELD(skb, ip_summed)) {
	case NONE: /* since Linux 6.11 also datagrams to be cut, for a device that sums nothing up: whoever cuts them does */
		return udp && ctx_gso_size(ctx) ? CTX_SUM_PARTIAL : CTX_SUM_WHOLE;
	case UNNECESSARY:
		return CTX_SUM_WHOLE;
	case PARTIAL:
		return CTX_SUM_PARTIAL;
	}
	return CTX_SUM_OTHER;
}

/*
 * May this node fragment what a socket of its own sends, although nobody may on the way (IP_PMTUDISC_WANT, ip(7))? Before Linux
 * 6.3 nobody says so.
 */
static __always_inline bool ctx_is_divisible(ctx_t *ctx)
{
	struct sk_buff___hidden *skb;

	if (!bpf_ksym_exists(bpf_cast_to_kern_ctx))
		return false;
	skb = bpf_cast_to_kern_ctx(ctx);
	return BPF_CORE_READ_BITFIELD(skb, ignore_df);
}

enum { /* PACKET_ of include/uapi/linux/if_packet.h */
       TO_ALL = 1,
       TO_GROUP = 2,
       TO_OTHER = 3,
};

/* Did the frame come to this device, to all or to a group? A device that listens to everything also has others'. */
static __always_inline bool ctx_is_for_us(const ctx_t *ctx)
{
	return ctx->pkt_type != TO_OTHER;
}

/* Did it come to all on the link, or to a group? Nobody passes that on but to a group of IP's (RFC 1812 5.3.4). */
static __always_inline bool ctx_is_for_many(const ctx_t *ctx)
{
	return ctx->pkt_type == TO_ALL || ctx->pkt_type == TO_GROUP;
}

/*
 * Puts Ethernet's header back where the kernel has lost it. Since Linux 6.9 generic XDP copies most packets, and forgets how long
 * the header is (mac_len, which skb_copy_header() leaves out), so that tc has them from the IP header on.
 */
static __always_inline bool ctx_restore_ethernet(ctx_t *ctx)
{
	struct sk_buff___hidden *skb;
	struct ethhdr eth;

	if (!bpf_ksym_exists(bpf_cast_to_kern_ctx)) /* an older kernel, which does not */
		return true;
	skb = bpf_cast_to_kern_ctx(ctx);
	if (BPF_CORE_READ(skb, mac_len))
		return true;
	if (bpf_probe_read_kernel(&eth, sizeof(eth), BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, mac_header)))
		return false;
	return !bpf_skb_change_head(ctx, sizeof(eth), 0) && ctx_store(ctx, 0, &eth, sizeof(eth));
}

/* ---- what only this buffer can ---------------------------------------------------------------------------- */

/* Has a queue that keeps time send the packet at ns of CLOCK_MONOTONIC. The kernel keeps that through its stack. */
static __always_inline void ctx_send_at(ctx_t *ctx, __u64 ns)
{
	bpf_skb_set_tstamp(ctx, ns, BPF_SKB_TSTAMP_DELIVERY_MONO);
}

/* in tc_index: a hook of this node has processed the packet, and the uplink need not look whose it is */
enum {
	CTX_PROCESSED = 0x5357,
	CTX_ANSWER =
		0x5358,	   /* this node's programs answered what it was to send: it comes in where that was to leave */
	CTX_REST = 0x5359, /* a part of the packet has gone ahead, and is to be taken off */
};

/* Both, for what goes on by the stack gets as index what is the class here. */
static __always_inline void ctx_set_processed(ctx_t *ctx, bool processed)
{
	ctx->tc_index = processed ? CTX_PROCESSED : 0;
	ctx->tc_classid = processed ? CTX_PROCESSED : 0;
}

static __always_inline void ctx_set_answer(ctx_t *ctx)
{
	ctx->tc_index = CTX_ANSWER;
}

static __always_inline bool ctx_is_answer(const ctx_t *ctx)
{
	return ctx->tc_index == CTX_ANSWER;
}

static __always_inline bool ctx_is_processed(const ctx_t *ctx)
{
	return ctx->tc_index == CTX_PROCESSED;
}

static __always_inline void ctx_set_rest(ctx_t *ctx, bool rest)
{
	ctx->tc_index = rest ? CTX_REST : 0;
}

static __always_inline bool ctx_is_rest(const ctx_t *ctx)
{
	return ctx->tc_index == CTX_REST;
}

/* Would the packet, or each segment of it, pass the device? Sets *mtu to the device's; 0: there is no such device. */
static __always_inline bool ctx_fits(ctx_t *ctx, __u32 ifindex, __u32 *mtu)
{
	*mtu = 0;
	return bpf_check_mtu(ctx, ifindex, mtu, 0, BPF_MTU_CHK_SEGS) == 0;
}

/* Makes the frame len octets long, at its end. */
static __always_inline bool ctx_resize(ctx_t *ctx, __u32 len)
{
	return bpf_skb_change_tail(ctx, len, 0) == 0;
}

/*
 * Makes room for octets behind Ethernet's header, or takes as many away (negative); what a GSO packet's segments are
 * stays. flags: further ones of the helper's. Returns the helper's error, or 0.
 */
static __always_inline long ctx_adjust_room(ctx_t *ctx, __s32 octets, __u64 flags)
{
	return bpf_skb_adjust_room(ctx, octets, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | flags);
}

/* As ctx_adjust_room(), right behind the IP header, without its options; what is new is zeros. Returns an error, or 0. */
static __always_inline long ctx_adjust_options(ctx_t *ctx, __s32 octets)
{
	return bpf_skb_adjust_room(ctx, octets, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* As ctx_adjust_room(), for what is no GSO packet; one that is becomes another, of smaller segments. */
static __always_inline bool ctx_add_room(ctx_t *ctx, __u32 octets)
{
	return bpf_skb_adjust_room(ctx, octets, BPF_ADJ_ROOM_MAC, 0) == 0;
}

/* Makes the IP header one of the other family's size, and the packet one of that family to the kernel. */
static __always_inline bool ctx_change_family(ctx_t *ctx, __be16 ethertype)
{
	return bpf_skb_change_proto(ctx, ethertype, 0) == 0;
}

/* The flow's hash, by which the kernel spreads packets, is to be found anew. */
static __always_inline void ctx_forget_hash(ctx_t *ctx)
{
	bpf_set_hash_invalid(ctx);
}

/* Gives the buffer another frame of len octets, of which no device has found anything. */
static __always_inline bool ctx_replace(ctx_t *ctx, const void *frame, __u32 len)
{
	if (!ctx_resize(ctx, len) ||
	    bpf_skb_store_bytes(ctx, 0, frame, len, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH))
		return false;
	bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET); /* what a device found right was the earlier one's */
	return true;
}

/* A copy of the packet comes in once more by its device, behind what this CPU has still to process. */
static __always_inline bool ctx_requeue_copy(ctx_t *ctx)
{
	return bpf_clone_redirect(ctx, ctx->ifindex, BPF_F_INGRESS) == 0;
}

/*
 * The outer addresses that a packet has: those it came in under by a device that takes the outer header off, or is to get
 * from one that puts it on. flags: BPF_F_TUNINFO_IPV6 or 0, its family. False: it has none of the family.
 */
static __always_inline bool ctx_tunnel_key(ctx_t *ctx, struct bpf_tunnel_key *key, __u64 flags)
{
	return bpf_skb_get_tunnel_key(ctx, key, sizeof(*key), flags) == 0;
}

static __always_inline bool ctx_set_tunnel_key(ctx_t *ctx, const struct bpf_tunnel_key *key, __u64 flags)
{
	return bpf_skb_set_tunnel_key(ctx, (struct bpf_tunnel_key *)key, sizeof(*key), flags) == 0;
}

#endif
