"""What is wrong with pods' VFs: what the node lacks for them, and which policy they escape. Told where problems are.

Found out anew where something of it has changed: the status is asked for ten times a second.
"""

from agent.compile.subject import SubjectInputs
from agent.compile.unprotected import Bypass, unprotected
from agent.model.cluster import Cluster
from agent.model.name import Problem
from agent.model.vf import VfKind
from agent.pods.vf_record import VfRecord
from agent.pods.vfs import Vfs


class VfProblems:
    """The problems of one node; used by one thread."""

    def __init__(self, vfs: Vfs, node_name: str) -> None:
        self._node = node_name
        self._vfs = vfs
        self._inputs = SubjectInputs()
        self._records: tuple[VfRecord, ...] = ()
        self._unprotected: tuple[Problem, ...] = ()

    def problems(self, cluster: Cluster) -> tuple[Problem, ...]:
        """Those of now."""
        records = self._vfs.all()
        inputs = SubjectInputs(cluster.pods, cluster.namespaces, cluster.policies, cluster.cluster_policies)
        if records != self._records or not inputs.is_same(self._inputs):
            self._records, self._inputs = records, inputs
            self._unprotected = _unprotected(records, inputs, is_possible=self._vfs.can_guard)
        return (*self._unprotected, *self._vfs.problems(self._node))


def _unprotected(records: tuple[VfRecord, ...], inputs: SubjectInputs, *, is_possible: bool) -> tuple[Problem, ...]:
    those = [
        Bypass(one.pod, one.interface, one.address, _why(one, is_possible=is_possible), bool(one.slot) and is_possible)
        for one in records
        if one.pod is not None
    ]
    if not those:
        return ()
    names = {one.pod for one in those}
    pods = {name: pod for name, pod in inputs.pods.items() if name in names}
    return unprotected(
        sorted(those, key=lambda one: (one.pod, one.interface)),
        SubjectInputs(pods, inputs.namespaces, inputs.policies, inputs.cluster_policies),
    )


def _why(record: VfRecord, *, is_possible: bool) -> str:
    """Why the VF has no programs of ours; of one that has them it is not asked."""
    if record.kind is VfKind.DPDK:
        return "on vfio-pci"
    if not is_possible:
        return "on a kernel without tcx (Linux 6.6)"
    return "without programs of ours since it was added" if record.given.get("ips") else "without addresses by ipam"
