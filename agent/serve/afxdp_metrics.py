"""What Prometheus reads of interfaces with AF_XDP: their packets, by what became of them at the pod's end."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from agent.kernel.device.xdp_pod import PodXdp
from agent.model.attachment import Attachment
from maps.abi import Steered
from maps.errors import KernelRefused

_WORDS: Mapping[Steered, str] = {
    Steered.STEERED_SOCKET: "socket",
    Steered.STEERED_STACK: "stack",
    Steered.STEERED_NOBODY: "nobody",
    Steered.STEERED_BAD: "unreadable",
}


@dataclass(frozen=True, slots=True)
class AfXdpUse:
    """One interface's packets."""

    pod: str  # namespace/name, or the container
    interface: str
    packets: Mapping[Steered, int]


def afxdp_uses(programs: PodXdp, attachments: Iterable[Attachment]) -> Iterator[AfXdpUse]:
    """The interfaces with AF_XDP among the attachments; one that goes meanwhile is left out."""
    for one in attachments:
        if one.link.afxdp is None:
            continue
        try:
            packets = programs.packets(one.link.host_device)
        except KernelRefused:
            continue
        yield AfXdpUse(str(one.pod or one.container_id), one.interface, packets)


def afxdp_families(uses: Iterable[AfXdpUse]) -> Iterator[Metric]:
    """Their family."""
    packets = CounterMetricFamily(
        "sluiceway_afxdp_packets",
        "Packets at an interface with AF_XDP: to a socket, to the stack, dropped for nobody took them, or unreadable.",
        labels=["pod", "interface", "to"],
    )
    for use in uses:
        for what, number in use.packets.items():
            packets.add_metric([use.pod, use.interface, _WORDS[what]], number)
    yield packets
