"""What Prometheus reads of pods' further interfaces and VFs: their packets, and what changed while pods ran.

Ours by their end on the node, VFs by what the PF counts of them, and what is made of a device of the node by what that
counts in the pod. What other plugins made is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from agent.model.attachment import Attachment
from agent.model.network import AFXDP, VETH
from agent.netlink.counted import CountedLink, CountedVf, counted_links
from agent.netlink.dump import Dump
from agent.pods.nic.record import NicRecord
from agent.pods.vf.record import VfRecord


@dataclass(frozen=True, slots=True)
class Passed:
    """What went one way."""

    packets: int
    octets: int
    dropped: int  # by the device, or the card


@dataclass(frozen=True, slots=True)
class InterfaceUse:
    """One interface, as its pod sees it."""

    pod: str  # namespace/name, or the container
    interface: str
    kind: str
    ingress: Passed
    egress: Passed


def interface_uses(
    attachments: Iterable[Attachment],
    vfs: Iterable[VfRecord],
    counted: Callable[[Iterable[str]], Mapping[str, CountedVf]],
    nics: Iterable[tuple[NicRecord, CountedLink | None]] = (),
) -> Iterator[InterfaceUse]:
    """The further interfaces that are ours, and all VFs; *counted* tells of VFs by their PCI addresses.

    *nics* have what each has counted, None where it is not in its pod.
    """
    further = [one for one in attachments if not one.is_first and one.link.in_pod is None]
    devices = _devices() if further else {}
    for one in further:
        link = devices.get(one.link.ifindex)
        if link is not None:  # what the node's end is sent, the pod has sent
            kind = AFXDP if one.link.afxdp else VETH
            yield InterfaceUse(str(one.pod or one.container_id), one.interface, kind, *reversed(_ways(link)))
    records = tuple(vfs)
    by_vf = counted(record.address for record in records) if records else {}
    for record in records:
        if record.address in by_vf:
            pod = str(record.pod or record.container_id)
            yield InterfaceUse(pod, record.interface, str(record.kind), *_ways(by_vf[record.address]))
    for nic, link in nics:
        if link is not None:
            yield InterfaceUse(str(nic.pod or nic.container_id), nic.interface, str(nic.kind), *_ways(link))


def interface_families(uses: Iterable[InterfaceUse]) -> Iterator[Metric]:
    """Their families."""
    where = ["pod", "interface", "kind", "direction"]
    packets = CounterMetricFamily(
        "sluiceway_interface_packets", "Packets of a pod's further interface, or of its VF.", labels=where
    )
    octets = CounterMetricFamily("sluiceway_interface_bytes", "Their bytes.", labels=where)
    dropped = CounterMetricFamily(
        "sluiceway_interface_dropped_packets", "Packets that the device or the card dropped.", labels=where
    )
    for use in uses:
        for direction, passed in (("ingress", use.ingress), ("egress", use.egress)):
            labels = [use.pod, use.interface, use.kind, direction]
            packets.add_metric(labels, passed.packets)
            octets.add_metric(labels, passed.octets)
            dropped.add_metric(labels, passed.dropped)
    yield from (packets, octets, dropped)


def change_families(changes: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """What was done to pods that ran, by what and its result."""
    family = CounterMetricFamily(
        "sluiceway_network_changes",
        "Further interfaces that running pods were given or lost by their annotation; a failure each time it is tried.",
        labels=["change", "result"],
    )
    for (change, result), number in changes.items():
        family.add_metric([change, result], number)
    yield family


def _devices() -> Mapping[int, CountedLink]:
    with Dump() as dump:
        return {link.index: link for link in counted_links(dump)}


def _ways(counted: CountedLink | CountedVf) -> tuple[Passed, Passed]:
    """Received and sent."""
    received = Passed(counted.rx_packets, counted.rx_octets, counted.rx_dropped)
    return received, Passed(counted.tx_packets, counted.tx_octets, counted.tx_dropped)
