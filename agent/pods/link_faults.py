"""What an interface in a pod has other than ADD gave it and that somebody has to have set: its MAC and its MTU.

Alike for all that pods have. It is told, and never set back: who does it may configure the pod's devices, as for a bond
in the pod, or the kernel has them follow a device of the node. Programs and cards that check senders go on to do so.
"""

from collections.abc import Iterator


def link_faults(mac: str, mtu: int, *, given_mac: str, given_mtu: int) -> Iterator[str]:
    """Ends of sentences about the interface; what was given is not known where it is empty, or 0."""
    if given_mac and mac != given_mac:
        yield f"has the MAC {mac}, not {given_mac}"
    if given_mtu and mtu != given_mtu:
        yield f"has the MTU {mtu}, not {given_mtu}"
