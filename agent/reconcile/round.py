"""One node brought to what a Cluster and its attachments ask for: compiled, the maps written, the parts applied.

Everything that the reconcile thread owns. A round pauses after each piece, and an attachment that comes meanwhile is
compiled and written at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from agent.compile.desired import Desired, desired, held_back_first
from agent.compile.endpoint import attachment_records
from agent.compile.ids import recovered
from agent.compile.node import node_owner
from agent.compile.pod_policy import PodPolicy, recovered_networks, recovered_pods
from agent.compile.policy_ids import recovered as recovered_numbers
from agent.compile.policy_ids import with_networks
from agent.compile.policy_state import Policies
from agent.compile.records import Owner, OwnerKind, Records
from agent.compile.settings import Settings
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from agent.reconcile.parts import Dataplane, Parts
from agent.reconcile.tracker import Tracker
from maps.apply import AnyTable, read


class Rounds:
    """The node as it was last asked for, and what was done. The constructor reads what an earlier agent left."""

    def __init__(
        self, dataplane: Dataplane, settings: Settings, attachments: Iterable[Attachment], clock: Callable[[], int]
    ) -> None:
        """*attachments* are those that live.

        Raises:
            MapsError: the kernel refused.
        """
        self._settings = settings
        tables = dataplane.tables
        ids = recovered(read(tables["backend_sets"]), read(tables["backends"]), read(tables["remotes"]))
        self._tracker = Tracker(tables, node_owner(settings))
        self._cluster = Cluster()
        self._attachments = {one.key: one for one in attachments}
        policies = _recovered_policies(tables, self._attachments)
        self._is_local_stale = True  # whether the attachments are others than compile has seen
        self.desired = Desired(ids=ids, policies=policies)
        self.parts = Parts(dataplane.parts, clock)
        self.deferred = dataplane.deferred
        self.map_error: Exception | None = None  # of the latest round

    @property
    def revision(self) -> int:
        """The revision of the node's state as last written."""
        return self._tracker.revision

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The attachments of this moment."""
        return tuple(self._attachments.values())

    def records(self, owner: Owner) -> Records | None:
        """What the maps hold of an owner, from any thread; None while that is not known."""
        return self._tracker.records(owner)

    def attach(self, attachment: Attachment) -> None:
        """Serve an attachment from the next :meth:`serve` on."""
        self._attachments[attachment.key] = attachment
        self._is_local_stale = True

    def detach(self, attachment: Attachment) -> None:
        """Serve it no more."""
        self._attachments.pop(attachment.key, None)
        self._is_local_stale = True
        gone = attachment_records({attachment.key: attachment}, {}, {attachment.key: PodPolicy()}, {})
        for owner, records in gone.items():
            self._tracker.forget(owner, records)

    def serve(self, keys: Iterable[AttachmentKey]) -> int:
        """Write what attachments that came or left have, and the node because of them; returns how many records.

        Raises:
            MapFull: there is no room for them.
            MapsError: the kernel refused.
        """
        changed = self._compile(self._cluster)
        return self._tracker.write_now(changed | {Owner(OwnerKind.ATTACHMENT, key) for key in keys})

    def round(self, cluster: Cluster) -> Iterator[None]:
        """Bring everything to *cluster*, the maps first; yields after each piece."""
        yield from self.write(cluster)
        yield from self.finish()

    def write(self, cluster: Cluster) -> Iterator[None]:
        """Bring the maps to *cluster*, and the parts before them; yields after each piece.

        What failed is in :attr:`map_error` and the parts.
        """
        self._cluster, self.map_error = cluster, None
        try:
            self._hold_back(cluster)
            self._compile(cluster)
        except Exception as error:  # noqa: BLE001  what was compiled before still holds
            self.map_error = error
        yield from self.parts.run(lambda: self.desired, before_maps=True)
        try:
            for _ in self._tracker.write():
                yield
            if self.is_unsettled and self._tracker.is_current:
                self._compile(self._cluster, settle=True)
                for _ in self._tracker.write():
                    yield
        except Exception as error:  # noqa: BLE001  the parts may well succeed
            self.map_error = error

    def finish(self) -> Iterator[None]:
        """Bring the other parts to what is desired at their turn; yields after each piece. What failed is in the parts.

        A piece changes nothing of ours: while another thread has one, this one may write maps.
        """
        yield from self.parts.run(lambda: self.desired, before_maps=False)

    def resync(self) -> Iterator[int]:
        """Read the maps back and put right what someone else changed; yields records put right, piece by piece.

        Raises:
            MapsError: the kernel refused.
        """
        self.parts.resync()
        yield from self._tracker.resync()

    @property
    def is_unsettled(self) -> bool:
        """Whether something was only for the way to what is desired, and goes in a round when the maps hold that."""
        return not self.desired.policies.is_settled

    def _hold_back(self, cluster: Cluster) -> None:
        """Before peers of the first whole cluster: pods whose rules have changed while no agent ran."""
        first = held_back_first(self._with_attachments(cluster), self._settings, self.desired)
        if first.changed:
            self._tracker.hold_back({owner: first.owners[owner] for owner in first.changed})
            self.desired = first

    def _with_attachments(self, cluster: Cluster) -> Cluster:
        """A cluster with the attachments of this moment."""
        attachments = self.desired.source.local.attachments
        if self._is_local_stale:
            attachments = tuple(self._attachments.values())
        return replace(cluster, local=replace(cluster.local, attachments=attachments))

    def _compile(self, cluster: Cluster, *, settle: bool = False) -> frozenset[Owner]:
        """Bring the Desired up to date; the owners that changed."""
        now = desired(self._with_attachments(cluster), self._settings, self.desired, settle=settle)
        self._is_local_stale = False
        self.desired = now
        self._tracker.want(now)
        return now.changed


def _recovered_policies(tables: Mapping[str, AnyTable], attachments: Mapping[AttachmentKey, Attachment]) -> Policies:
    """What an earlier agent's maps say of policies: their numbers, and what each pod has."""
    numbers = recovered_numbers(
        read(tables["policies"]), read(tables["rule_sets"]), read(tables["peer_classes"]), read(tables["port_verdicts"])
    )
    places, policies, classes = (read(tables[name]) for name in ("attachments", "pod_policies", "pod_classes"))
    pods = recovered_pods(attachments.values(), places, policies, classes)
    return Policies(ids=with_networks(numbers, recovered_networks(attachments, pods)), pods=pods)
