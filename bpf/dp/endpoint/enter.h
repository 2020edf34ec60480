/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Into a pod past its own hook: by bpf_redirect_peer(), or where a program at the pod's end is to see the packet before the pod's
 * stack, by the device, whose hook then lets it pass. That one comes at once, on this CPU, before any other packet: so this CPU
 * remembers the device, for the processed mark alone may be another's.
 */
#ifndef SLUICEWAY_ENTER_H
#define SLUICEWAY_ENTER_H

#include "dp/endpoint/endpoint.h"
#include "dp/packet/ctx.h"
#include "dp/packet/scratch.h"

/* Hands over what was judged and charged. Returns the program's verdict. */
static __always_inline int enter_pod(ctx_t *ctx, __u32 ifindex, bool is_af_xdp)
{
	struct scratch *work = scratch();

	if (!is_af_xdp || !work)
		return bpf_redirect_peer(ifindex, 0);
	work->entering = ifindex;
	ctx_set_processed(ctx, true); /* as finish() does of what a pod sent */
	return bpf_redirect(ifindex, 0);
}

/* At the pod's device: was the packet judged and charged by enter_pod()'s caller? */
static __always_inline bool has_entered(const ctx_t *ctx)
{
	struct scratch *work = scratch();
	__u32 entering;

	if (!work || !work->entering)
		return false;
	entering = work->entering;
	work->entering = 0;
	return entering == ctx_ifindex(ctx) && ctx_is_processed(ctx);
}

/* Does the device of a pod carry the packet? That of one with AF_XDP may carry less than others. */
__noinline int is_enterable(ctx_t *ctx, __u32 ifindex, __u32 attachment_flags)
{
	__u32 mtu;

	return !(attachment_flags & ATTACHMENT_AF_XDP) || ctx_fits(ctx, ifindex, &mtu);
}

#endif
