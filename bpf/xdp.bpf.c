// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The node's own devices, before there is a struct sk_buff: what comes from a denied range ends here, and what passes through the
 * node between a client outside and a backend on another node is sent on. All else goes as it came to uplink_ingress().
 */
#define CTX_XDP

#include "dp/endpoint/denied.h"
#include "dp/forward/send_back.h"
#include "dp/packet/drop.h"

/* Ends a packet that is not to go on. */
static __noinline int drop(struct scratch *work, enum drop_reason why)
{
	drop_keep(why, 0);
	drop_kept(work, why);
	count(HOOK_XDP, why, work->forward.octets);
	return XDP_DROP;
}

/* Sends on what passes through; returns the verdict. */
static __always_inline int pass_through(ctx_t *ctx, struct scratch *work)
{
	enum drop_reason why;
	struct flow *f;

	if (!is_plain(ctx, work) || !serves_outside())
		return XDP_PASS;
	f = flow_through(ctx, work);
	if (!f)
		return XDP_PASS;
	ct_translation(work, f);
	if (!find_way_back(ctx, work))
		return XDP_PASS;
	why = send_back(ctx, work);
	if (why)
		return drop(work, why);
	count(HOOK_XDP, DROP_NONE, work->forward.octets);
	return XDP_TX;
}

SEC("xdp.frags") int uplink_xdp(ctx_t *ctx)
{
	struct scratch *work = scratch_fresh(ctx, HOOK_XDP);
	bool is_read;

	if (!work)
		return XDP_PASS;
	is_read = !parse(ctx, &work->packet) && !(work->packet.flags & PACKET_OTHER);
	if ((is_read || read_addresses(ctx, &work->packet)) && is_denied(work))
		return drop(work, DROP_DENIED_PREFIX);
	return is_read ? pass_through(ctx, work) : XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
