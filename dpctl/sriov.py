"""``dpctl sriov list`` and ``dpctl device list``: functions of the node's NICs, and what the kubelet gives to pods.

Functions are read from sysfs, whoever is dead; resources, health and pods are the device plugin's to tell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.devices import sysfs
from agent.model.device import NO_NODE, Allocated, Hardware, PciFunction
from agent.pods.pod_devices import Answer, Question, Unanswered, ask
from dpctl.errors import Absent
from dpctl.output import Column, Table
from dpctl.report import COLUMNS as PROBLEMS
from dpctl.report import ProblemRow


@dataclass(frozen=True, slots=True)
class SriovRow:
    """A PF or a VF."""

    pf: str  # its network device; empty: another driver has it, or a pod
    vf: int | None  # None: the PF itself
    address: str
    device: str  # vendor and device, as lspci -n writes them
    driver: str
    netdevs: tuple[str, ...]  # of the node's own namespace
    vfs: int | None  # of a PF, that there are
    total_vfs: int | None  # of a PF, that there can be
    numa_node: int | None
    iommu_group: str
    link: str  # up, down, no carrier; empty: not known
    resource: str
    trouble: str  # why the kubelet does not give it away
    pod: str  # namespace/name/container that has it


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of a resource."""

    about: str
    resource: str
    device: str
    trouble: str  # why the kubelet does not give it away; empty: it does
    pod: str  # namespace/name/container that has it


SRIOV: tuple[Column[SriovRow], ...] = (
    Column("PF", lambda r: r.pf),
    Column("VF", lambda r: "" if r.vf is None else str(r.vf), right=True),
    Column("PCI", lambda r: r.address),
    Column("ID", lambda r: r.device),
    Column("DRIVER", lambda r: r.driver),
    Column("DEVICE", lambda r: " ".join(r.netdevs)),
    Column("VFS", lambda r: "" if r.vfs is None else f"{r.vfs}/{r.total_vfs}", right=True),
    Column("NUMA", lambda r: "" if r.numa_node is None else str(r.numa_node), right=True),
    Column("IOMMU", lambda r: r.iommu_group, right=True),
    Column("LINK", lambda r: r.link),
    Column("RESOURCE", lambda r: r.resource),
    Column("POD", lambda r: r.pod),
    Column("TROUBLE", lambda r: r.trouble),
)
DEVICES: tuple[Column[DeviceRow], ...] = (
    Column("RESOURCE", lambda r: r.resource),
    Column("DEVICE", lambda r: r.device),
    Column("HEALTH", lambda r: "unhealthy" if r.trouble else "healthy"),
    Column("POD", lambda r: r.pod),
    Column("TROUBLE", lambda r: r.trouble),
)


def sriov_table(root: Path, run_dir: Path) -> Table[SriovRow]:
    """The node's PFs, each before its VFs."""
    try:
        answer = ask(run_dir, Question())
    except Unanswered:
        answer = Answer()
    return Table(SRIOV, list(sriov_rows(sysfs.read(root), answer)))


def sriov_rows(hardware: Hardware, answer: Answer) -> Iterator[SriovRow]:
    """As :func:`sriov_table`, of values."""
    states = {state.device: state for state in answer.states}
    pods = _pods(answer.given)
    for function in hardware.functions.values():
        if not function.total_vfs and not function.vfs:
            continue
        for address in (function.address, *function.vfs):
            own = hardware.functions.get(address)
            if own is not None:
                state = states.get(address)
                resource, trouble = (state.resource, state.trouble) if state else ("", "")
                yield _row(function, own, hardware, resource, trouble, pods.get(address, ""))


def device_tables(run_dir: Path) -> list[Table[DeviceRow] | Table[ProblemRow]]:
    """The devices of all resources, and what is wrong with their configuration.

    Raises:
        Absent: no device plugin answers.
    """
    try:
        answer = ask(run_dir, Question())
    except Unanswered as error:
        raise Absent(f"{error} What needs none is shown by: dpctl sriov list") from error
    pods = _pods(answer.given)
    rows = [
        DeviceRow("device", state.resource, state.device, state.trouble, pods.get(state.device, ""))
        for state in answer.states
    ]
    problems = [ProblemRow("problem", each.kind, str(each.name), each.field, each.text) for each in answer.problems]
    return [Table(DEVICES, rows), *([Table(PROBLEMS, problems)] if problems else [])]


def _row(  # noqa: PLR0913, PLR0917  what three sources say of one
    pf: PciFunction, own: PciFunction, hardware: Hardware, resource: str, trouble: str, pod: str
) -> SriovRow:
    is_pf = own is pf
    return SriovRow(
        pf=" ".join(pf.netdevs),
        vf=None if is_pf else own.vf,
        address=own.address,
        device=f"{own.vendor}:{own.device}",
        driver=own.driver,
        netdevs=own.netdevs,
        vfs=len(pf.vfs) if is_pf else None,
        total_vfs=pf.total_vfs if is_pf else None,
        numa_node=None if own.numa_node == NO_NODE else own.numa_node,
        iommu_group=own.iommu_group,
        link=_link(own, hardware),
        resource=resource,
        trouble=trouble,
        pod=pod,
    )


def _link(function: PciFunction, hardware: Hardware) -> str:
    for name in function.netdevs:
        if netdev := hardware.netdevs.get(name):
            return "down" if not netdev.is_up else "up" if netdev.has_carrier else "no carrier"
    return ""


def _pods(given: tuple[Allocated, ...]) -> Mapping[str, str]:
    return {each.device: f"{each.namespace}/{each.pod}/{each.container}" for each in given}
