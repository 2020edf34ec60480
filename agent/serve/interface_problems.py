"""What is wrong with pods' interfaces: what VFs lack, and which policies are escaped. Told where problems are.

Found out anew where something of it has changed: the status is asked for ten times a second.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from agent.compile.subject import SubjectInputs, SubjectName
from agent.compile.unprotected import Bypass, unprotected
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.network import OUR_PLUGIN
from agent.model.nic import NicKind
from agent.model.node import Pod
from agent.model.vf import VfKind
from agent.pods.device.record import DeviceRecord
from agent.pods.network_record import NetworkSet, Step
from agent.pods.nic.nics import Nics
from agent.pods.nic.record import NicRecord
from agent.pods.vf.record import VfRecord
from agent.pods.vf.vfs import Vfs

SHARED = frozenset({NicKind.MACVLAN, NicKind.IPVLAN})  # who has one can make more
Seen = tuple[tuple[VfRecord, ...], tuple[NicRecord, ...], tuple[NetworkSet, ...]]
NO_PODS: Mapping[SubjectName, Pod] = {}


class KnownNetworks(Protocol):
    """``pods.networks.Networks``, as far as it tells what there is."""

    def all(self) -> tuple[NetworkSet, ...]:
        """The pods of this moment that have interfaces of other plugins."""


class InterfaceProblems:
    """The problems of one node; used by one thread."""

    def __init__(self, vfs: Vfs, nics: Nics, networks: KnownNetworks, node_name: str, *, has_multi: bool) -> None:
        """*has_multi*: MultiNetworkPolicies are watched; else NetworkPolicies are for all of a pod's devices."""
        self._node = node_name
        self._vfs, self._nics = vfs, nics
        self._networks = networks
        self._has_multi = has_multi
        self._seen: Seen = ((), (), ())
        self._pods: Mapping[ObjectName, Pod] = {}
        self._inputs = SubjectInputs()
        self._unprotected: tuple[Problem, ...] = ()

    def problems(self, cluster: Cluster) -> tuple[Problem, ...]:
        """Those of now."""
        seen = (self._vfs.all(), self._nics.all(), self._networks.all())
        inputs = SubjectInputs(
            NO_PODS, cluster.namespaces, cluster.policies, cluster.cluster_policies, cluster.multi_policies
        )
        if seen != self._seen or cluster.pods is not self._pods or not inputs.is_same(self._inputs):
            self._seen, self._pods, self._inputs = seen, cluster.pods, inputs
            those = sorted((*self._of_vfs(seen[0]), *self._of_nics(seen[1]), *_of_others(seen[2])), key=_order)
            self._unprotected = unprotected(those, cluster.pods, inputs) if those else ()
        devices = (*self._vfs.problems(self._node, cluster.pods), *self._nics.problems(self._node))
        return (*self._unprotected, *devices)

    def _of_vfs(self, records: tuple[VfRecord, ...]) -> Iterator[Bypass]:
        for one in records:
            if one.pod is None:
                continue
            definition = one.definition if self._has_multi else None
            is_guarded = bool(one.slot) and self._vfs.can_guard
            # past the kernel, a policy of the pod is one that it escapes, whatever network that is for
            is_apart = definition is not None and one.kind is not VfKind.DPDK
            subject = SubjectName(one.pod, definition, is_apart)
            what = "a VF" if is_guarded else f"a VF {_why(one, is_possible=self._vfs.can_guard)}"
            yield Bypass(subject, one.interface, one.address, what, is_guarded)

    def _of_nics(self, records: tuple[NicRecord, ...]) -> Iterator[Bypass]:
        for one in records:
            if one.pod is None:
                continue
            definition = one.definition if self._has_multi else None
            subject = SubjectName(one.pod, definition, definition is not None)
            is_guarded = bool(one.slot) and self._nics.can_guard
            kind = "the node's own device" if one.kind is NicKind.HOST_DEVICE else f"a device of the kind {one.kind}"
            what = kind if is_guarded else f"{kind} {_why(one, is_possible=self._nics.can_guard)}"
            below = one.device if one.kind in SHARED else ""
            is_ipvlan = one.kind is NicKind.IPVLAN
            yield Bypass(subject, one.interface, one.device, what, is_guarded, below, is_ipvlan)


def _order(one: Bypass) -> tuple[ObjectName, str]:
    return one.subject.pod, one.interface


def _of_others(sets: Iterable[NetworkSet]) -> Iterator[Bypass]:
    """What other plugins make."""
    for owner in sets:
        for one in owner.interfaces if owner.pod is not None else ():
            kind = one.plugins[0].kind
            if one.step is not Step.MADE or kind == OUR_PLUGIN or owner.pod is None:
                continue
            subject = (
                SubjectName(owner.pod) if owner.is_first(one) else SubjectName(owner.pod, one.network, is_apart=True)
            )
            yield Bypass(subject, one.interface, str(one.network), f"made by the plugin {kind}")


def _why(record: DeviceRecord, *, is_possible: bool) -> str:
    """Why the device has no programs of ours; of one that has them it is not asked."""
    if not record.has_netdev:
        return "on vfio-pci"
    if not is_possible:
        return "on a kernel without tcx (Linux 6.6)"
    return "without programs of ours since it was added" if record.given.get("ips") else "without addresses by ipam"
