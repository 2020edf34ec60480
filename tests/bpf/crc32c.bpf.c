// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Hands crc32c.h the two words at the end of a frame, and returns what becomes of them, for the test. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "dp/packet/crc32c.h"

enum { BEFORE = 14 /* octets: the least that a test run takes */ };

SEC("tc") int zeros(struct __sk_buff *ctx)
{
	__u32 words[2];

	if (bpf_skb_load_bytes(ctx, BEFORE, words, sizeof(words)))
		return 0;
	return crc32c_zeros(words[0], words[1]);
}

char _license[] SEC("license") = "Dual BSD/GPL";
