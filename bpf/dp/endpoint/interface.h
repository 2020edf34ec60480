/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Whose the device is where the programs of an object are. Most objects are for all devices of a kind, and find the pod by the device;
 * one that defines AT_VF before its first header is loaded for each VF in a pod, and carries what it is for: there a device's
 * number says nothing, for each network namespace counts its own.
 *
 * A VF's flows are its own, told from others' by their keys' network: the same packet may pass the node's devices too, on its way
 * from or to the wire, translated there or not.
 */
#ifndef SLUICEWAY_INTERFACE_H
#define SLUICEWAY_INTERFACE_H

#include "dp/abi/endpoint.h"
#include "dp/config.h"
#include "dp/packet/addr.h"

#ifdef AT_VF
enum { IS_AT_VF = 1 };

const volatile __u16 own_slot DOC("the slot of the attachment whose VF the programs are on") = 0;
const volatile ip_addr own_addresses[OWN_ADDRESSES] = {}; /* the first of zeros ends them */

/* Has the interface the address? */
__noinline int is_own_address(const ip_addr *addr)
{
	if (!addr)
		return false;
	for (int i = 0; i < OWN_ADDRESSES; i++) {
		const ip_addr own = own_addresses[i];

		if (addr_is_zero(&own))
			return false;
		if (addr_equal(addr, &own))
			return true;
	}
	return false;
}
#else
enum { IS_AT_VF = 0, own_slot = 0 };

static __always_inline bool is_own_address(const ip_addr *addr __attribute__((unused)))
{
	return false;
}
#endif

/* Is what a pod at a slot may do said by the programs where the packet is? A VF's speak for its own pod alone. */
static __always_inline bool is_judged_here(__u16 slot)
{
	return slot && (!IS_AT_VF || slot == own_slot);
}

#endif
