"""Whether a VF is as ADD left it, and what the node lacks for those that pods have."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from agent.compile.vf import changes
from agent.errors import AgentError
from agent.kernel.device.netdev_repair import Given
from agent.kernel.device.pci import HugePages
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.model.node import Pod
from agent.model.vf import VFIO, VfKind
from agent.pods.device import kept
from agent.pods.device.ipam import addresses
from agent.pods.device.kept import InPod
from agent.pods.device.words import whose
from agent.pods.vf.needs import Card
from agent.pods.vf.record import VfRecord

log = logger(__name__)


def faults(card: Card, record: VfRecord) -> Iterator[str]:
    """What is not as ADD left it, of the VF itself."""
    try:
        vf = card.look(record.address)
    except (OSError, AgentError) as error:
        yield str(error)
        return
    yield from (f"{change.field} is not {change} any more" for change in changes(record.kept, vf.settings))
    if record.kind is VfKind.DPDK:
        if vf.driver != VFIO:
            yield f"{record.address} is bound to {vf.driver or 'no driver'}, not {VFIO}"
    else:
        yield from kept.faults(record, in_pod(card, record))


def in_pod(card: Card, record: VfRecord) -> InPod:
    """The network device in its pod."""
    place = record.address, record.netns, record.netns_cookie
    return InPod(
        lambda: card.in_pod(*place),
        lambda: card.lost(*place, Given(addresses(record.given))),
        lambda: card.repair(*place, Given(addresses(record.given))),
        f"{record.interface}, the VF {record.address}, is not in the pod any more; delete the Pod",
    )


def spoilt(card: Card, records: Iterable[VfRecord]) -> Iterator[VfRecord]:
    """The VFs whose PFs have not kept all that was set for their pods, or tell nothing of them; each is asked once."""
    those = tuple(records)
    try:
        found = card.settings([record.address for record in those])
    except OSError as error:
        log.warning("what PFs keep of pods' VFs cannot be seen", why=error)
        return
    for record in those:
        present = found.get(record.address)
        if present is None or changes(record.kept, present):
            yield record


def keep(card: Card, record: VfRecord, *, is_kept: bool) -> str:
    """Have a VF be what its pod was given, whoever has changed it since; why it is not, empty where it is.

    The PF is not asked where it *is_kept* what was set there.
    """
    try:
        for change in () if is_kept else changes(record.kept, card.look(record.address).settings):
            card.set(record.address, change)
            what = f"{change.field}: {change}"
            log.warning("what a PF had not kept of a pod's VF is set again", vf=record.address, what=what)
    except (OSError, AgentError) as error:
        return f"{whose(record)} is not as it was given: {error}"
    return kept.keep(record, in_pod(card, record)) if record.has_netdev else ""


def unusable(unread: Collection[str], stuck: Mapping[str, str], node: str) -> Iterator[Problem]:
    """Which VFs are given to no pod until they are right, by PCI address, and why."""
    for address in sorted(unread):
        text = "its record in the state directory cannot be read, so it is given to no pod; remove the file"
        yield Problem("Node", ObjectName("", node), f"VF {address}", text)
    for address, why in sorted(stuck.items()):
        text = f"it is not yet what it was before a pod had it, and is given to no other: {why}"
        yield Problem("Node", ObjectName("", node), f"VF {address}", text)


def not_kept(reasons: Mapping[str, str], node: str) -> Iterator[Problem]:
    """Which VFs are not what their pods were given, by PCI address, and why."""
    for address, why in sorted(reasons.items()):
        yield Problem("Node", ObjectName("", node), f"VF {address}", why)


def without_hugepages(card: Card, records: Iterable[VfRecord], pods: Mapping[ObjectName, Pod]) -> Iterator[Problem]:
    """The pods with DPDK that the node has not the huge pages for; *pods* are those that the API has.

    The kubelet admits none that asks for more than there is, so what remains are pages that went meanwhile, and pods
    that ask for none. These may do without, which is theirs to know: it is no reason not to start them.
    """
    dpdk = [(one, pods[one.pod]) for one in records if one.kind is VfKind.DPDK and one.pod and one.pod in pods]
    has = card.hugepages() if dpdk else {}
    for record, pod in dpdk:
        for resource, why in _lacking(pod.hugepages, has):
            text = f"{record.interface} ({record.address}) is for DPDK: {why}"
            yield Problem("Pod", pod.name, f"spec.containers[].resources.limits{resource}", text)


def _lacking(asked: tuple[tuple[int, int], ...], has: Mapping[int, HugePages]) -> Iterator[tuple[str, str]]:
    """A resource, and why it is not to be had; *asked* as ``Pod.hugepages``."""
    if not asked and not any(one.total for one in has.values()):
        mend = "set vm.nr_hugepages, or hugepages= at boot, and ask for them, unless the application has --no-huge"
        yield "", f"of huge pages none are asked for and the node has none; {mend}"
    for size, amount in asked:
        there = has.get(size, HugePages(0, 0))
        if there.total * size < amount:
            pages = f"{-(-amount // size)} are asked for, and the node has {there.total}, {there.free} of them free"
            yield f"['hugepages-{_size(size)}']", f"of these pages {pages}; set vm.nr_hugepages, or hugepages= at boot"


def _size(kib: int) -> str:
    """A page's size as Kubernetes has it in the resource's name."""
    unit, least = next((unit, least) for unit, least in (("Gi", 1 << 20), ("Mi", 1 << 10), ("Ki", 1)) if kib >= least)
    return f"{kib // least}{unit}"
