// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* For the other end of a veth whose own end sends by XDP: it takes such frames only where there is a program. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
