"""Rules in a pod's namespace, by which what it sends from an interface's addresses goes by a table of its own.

The kernel removes routes with their device, and leaves the rules that lead to them.
"""

from ipaddress import ip_address

from agent.netlink import requests
from agent.netlink.dump import Dump
from agent.netlink.netns import NetnsHandle
from agent.netlink.rtnetlink import FRA_SRC, FRA_TABLE, RTM_GETRULE, RULE, attribute, number


def rules(netns: NetnsHandle) -> tuple[tuple[bytes, int], ...]:
    """The addresses from which what is sent goes by a table, and the table; as often as a rule says so."""
    bodies = Dump(netns.pod).read(RTM_GETRULE, bytes(RULE.size))
    return tuple((attribute(b, RULE.size, FRA_SRC), number(attribute(b, RULE.size, FRA_TABLE))) for b in bodies)


def remove_rules(netns: NetnsHandle, table: int) -> None:
    """Have none that lead to a table.

    Raises:
        OSError: the kernel refused.
    """
    for source, leads_to in rules(netns):
        if source and leads_to == table:
            netns.pod.ask(requests.delete_rule(ip_address(source), table))
