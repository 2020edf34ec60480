"""Whether a VF is as ADD left it, and what the node lacks for those that pods have."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from agent.errors import AgentError
from agent.model.name import ObjectName, Problem
from agent.model.vf import VFIO, VfKind
from agent.pods.vf.guards import VfGuards
from agent.pods.vf.needs import AddressPlugin, Card
from agent.pods.vf.record import VfRecord


def faults(card: Card, ipam: AddressPlugin, guards: VfGuards, record: VfRecord) -> Iterator[str]:
    """What is not as ADD left it."""
    try:
        vf = card.look(record.address)
    except (OSError, AgentError) as error:
        yield str(error)
        return
    if record.kind is VfKind.DPDK:
        if vf.driver != VFIO:
            yield f"{record.address} is bound to {vf.driver or 'no driver'}, not {VFIO}"
    else:
        found = card.in_pod(record.address, record.netns, record.netns_cookie)
        if found is None:
            yield f"{record.address} is not in {record.netns}"
        elif found.name != record.interface:
            yield f"{record.address} is {found.name}, not {record.interface}"
        elif not found.is_up:
            yield f"{record.interface} is down"
    if trouble := guards.fault(record):
        yield trouble
    if trouble := ipam.check(record):
        yield trouble


def unusable(unread: Collection[str], stuck: Mapping[str, str], node: str) -> Iterator[Problem]:
    """Which VFs are given to no pod until they are right, by PCI address, and why."""
    for address in sorted(unread):
        text = "its record in the state directory cannot be read, so it is given to no pod; remove the file"
        yield Problem("Node", ObjectName("", node), f"VF {address}", text)
    for address, why in sorted(stuck.items()):
        text = f"it is not yet what it was before a pod had it, and is given to no other: {why}"
        yield Problem("Node", ObjectName("", node), f"VF {address}", text)


def without_hugepages(card: Card, records: Iterable[VfRecord]) -> Iterator[Problem]:
    """The pods with DPDK on a node that has no huge pages."""
    dpdk = [record for record in records if record.kind is VfKind.DPDK and record.pod is not None]
    if not dpdk or any(card.hugepages().values()):
        return
    for record in dpdk:
        if record.pod is not None:
            text = "the node has no huge pages, which DPDK wants; set vm.nr_hugepages, or hugepages= at boot"
            yield Problem("Pod", record.pod, f"{record.interface} ({record.address})", text)
