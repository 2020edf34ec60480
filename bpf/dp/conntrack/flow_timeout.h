/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How long a flow lives without a packet: its own time-out, or less where the table is pressed for room. */
#ifndef SLUICEWAY_FLOW_TIMEOUT_H
#define SLUICEWAY_FLOW_TIMEOUT_H

#include "dp/conntrack/flow.h"

const volatile __u32 flow_tcp_s
	DOC("seconds without a packet that end an answered TCP flow (RFC 5382 REQ-5: at least 2 h 4 min)") = 7440;
const volatile __u32 flow_tcp_half_s DOC("the same when one end has sent FIN") = 3600;
const volatile __u32 flow_tcp_closed_s
	DOC("the same after FIN from both ends, who may still send a lost last segment again (RFC 9293 3.6.1)") = 120;
const volatile __u32 flow_tcp_reset_s
	DOC("the same after RST, whose sequence number may have been wrong (RFC 5961 3)") = 300;
const volatile __u32 flow_tcp_refused_s DOC("the same after RST in place of an answer") = 10;
const volatile __u32 flow_tcp_new_s DOC("the same while unanswered") = 60;
const volatile __u32 flow_udp_s
	DOC("seconds without a packet that end a UDP flow with more than one answer (RFC 4787 REQ-5)") = 300;
const volatile __u32 flow_udp_once_s DOC("the same of one that was answered within a second, and then silent") = 120;
const volatile __u32 flow_udp_new_s DOC("the same while unanswered") = 30;
const volatile __u32 flow_sctp_s
	DOC("seconds without a packet that end an answered SCTP flow: five heartbeats, and one that is late (RFC 9260 16)") =
		210;
const volatile __u32 flow_sctp_new_s
	DOC("the same while unanswered, and after ABORT, whose tag may have been wrong") = 60;
const volatile __u32 flow_sctp_closed_s
	DOC("the same after SHUTDOWN from both ends, or ABORT in place of an answer") = 10;
const volatile __u32 flow_pressed_s
	DOC("the same of a flow that is unanswered, was answered but once, or is closed, while less than 3/8 of the "
	    "table's room are left; twice that for each eighth more, up to 5/8; at least 3, for copies last so long") =
		3;

static __always_inline __u32 sctp_timeout_s(__u32 flags)
{
	if (flags & FLOW_RESET)
		return flags & FLOW_REPLIED ? flow_sctp_new_s : flow_sctp_closed_s;
	if (flags_are_closed(flags))
		return flow_sctp_closed_s;
	return flags & FLOW_REPLIED ? flow_sctp_s : flow_sctp_new_s;
}

static __always_inline __u32 own_timeout_s(__u8 protocol, __u32 flags)
{
	bool answered = flags & FLOW_REPLIED, tcp = protocol == IPPROTO_TCP;

	if (protocol == IPPROTO_SCTP)
		return sctp_timeout_s(flags);
	if (!tcp && !answered)
		return flow_udp_new_s;
	if (!tcp)
		return flags & FLOW_ASSURED ? flow_udp_s : flow_udp_once_s;
	if (flags & FLOW_RESET)
		return answered ? flow_tcp_reset_s : flow_tcp_refused_s;
	if (flags_are_closed(flags))
		return flow_tcp_closed_s;
	if (flags & (FLOW_FIN_ORIGIN | FLOW_FIN_REPLY))
		return flow_tcp_half_s;
	return answered ? flow_tcp_s : flow_tcp_new_s;
}

/* The fuller the table is the less; never of a connection that is answered and open, nor of a flow that goes on. */
static __always_inline __u32 timeout_s(__u8 protocol, __u32 flags, __u32 pressed_s)
{
	__u32 own_s = own_timeout_s(protocol, flags);
	bool goes_on = flags & FLOW_REPLIED && (has_connections(protocol) || flags & FLOW_ASSURED);

	return pressed_s && pressed_s < own_s && (flags_are_closed(flags) || !goes_on) ? pressed_s : own_s;
}

#endif
