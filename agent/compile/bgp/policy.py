"""What a session takes and tells: of a Node's annotations, options, BGPConfigurations, and a BGPPeer with filters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.compile.bgp.annotations import NodeBgp
from agent.compile.bgp.believed import Believed, overlapping
from agent.compile.bgp.configured import resolved
from agent.compile.bgp.own import OwnPrefixes
from agent.compile.bgp.plan import Hop, Step, all_within, changes, exactly, filter_steps
from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp import BgpPeer, PeerExport, PrefixRange
from agent.model.bgp_filter import NO_CHANGE, BgpFilter, Change, Origin

_PODS_OF_NODES = "between nodes"
NOTHING_ADDED = PeerExport()
Steps = tuple[Step, ...]


def node_imports(hops: tuple[Hop, ...], settings: BgpSettings, believed: Believed) -> Steps:
    """What is taken of another node: the ranges of pods that it may tell, each node's by itself, and what it relays."""
    ranges = tuple(one for hop in hops for one in hop.ranges)
    not_relayed = overlapping(believed.of_nodes, settings.relayed)
    return (
        Step(_PODS_OF_NODES, accepts=True, prefixes=ranges, hops=hops),
        *not_relayed,
        *_relayed((), settings),
    )


def node_exports(settings: BgpSettings, *, reflects: bool) -> Steps:
    """What another node is told: this one's pods, and what routers told; by a reflector also what other nodes did."""
    own = (Origin.PODS, Origin.NODES) if reflects else (Origin.PODS,)
    others = Origin.PEERS if reflects else Origin.ROUTERS
    return (Step(_PODS_OF_NODES, accepts=True, origins=own), *_relayed((others,), settings))


def _relayed(origins: tuple[Origin, ...], settings: BgpSettings) -> Steps:
    if not settings.relayed:
        return ()
    return (Step(settings.relayed_by, accepts=True, origins=origins, prefixes=settings.relayed),)


@dataclass(frozen=True, slots=True)
class Policy:
    """Of whoever is no node."""

    settings: BgpSettings
    own: NodeBgp
    told: OwnPrefixes
    believed: Believed

    def plain(self, about: str) -> tuple[Steps, Steps]:
        """What is taken of a peer of which nothing more is said, and what it is told."""
        imports = self._imports((), None, about, self.believed.of_routers)
        return imports, self._exports((), self._added(NOTHING_ADDED), NOTHING_ADDED, about)

    def of_peer(self, peer: BgpPeer, filters: Mapping[str, BgpFilter]) -> tuple[Steps, Steps]:
        """What is taken of a BGPPeer, and what it is told.

        Raises:
            Refusal, Unresolved: it cannot be known.
        """
        added, about = self._added(peer.export), f"BGPPeer {peer.name}"
        same = peer.asn == (peer.local_asn or self.own.asn or self.settings.asn)
        taken = filter_steps(peer, filters, self.settings, NO_CHANGE, is_import=True, is_internal=same)
        told = filter_steps(peer, filters, self.settings, added, is_import=False, is_internal=same)
        refused = self.believed.at_interfaces if peer.interface else self.believed.of_routers
        return self._imports(taken, peer.imports, about, refused), self._exports(told, added, peer.export, about)

    def _added(self, export: PeerExport) -> Change:
        """What is added to all that is told: a Node's own, and then a peer's."""
        said = self.own
        return changes(
            replace(
                export,
                communities=(*said.communities, *resolved(export.communities, self.settings)),
                prepends=(*said.prepends, *export.prepends),
            )
        )

    def _imports(self, filters: Steps, prefixes: tuple[PrefixRange, ...] | None, about: str, refused: Steps) -> Steps:
        steps = list(filters)
        if self.own.rejects:
            by, rejected = "kube-router.io/node.bgp.customimportreject", all_within(self.own.rejects)
            steps.insert(0, Step(by, accepts=False, prefixes=rejected))
        by = self.settings.imports_by if prefixes is None else f"{about} import"
        if taken := self.settings.imports if prefixes is None else prefixes:
            steps.append(Step(by, accepts=True, prefixes=taken))
        if any(step.accepts for step in steps):
            steps = [*refused, *steps]
        return tuple(steps)

    def _exports(self, filters: Steps, added: Change, export: PeerExport, about: str) -> Steps:
        """What a router of the site's is told, where no filter decides before."""
        told, steps = self.told, list(filters)
        if told.unmarked:
            pods = (Origin.PODS, Origin.AGGREGATES)
            steps.insert(0, Step("BGPConfiguration", accepts=False, origins=pods, prefixes=exactly(told.unmarked)))
        if self.settings.pods if export.pods is None else export.pods:
            by = "--advertise-pod-cidr" if export.pods is None else f"{about} export.podCIDRs"
            alone = None if not told.pod_aggregates else exactly(told.pods_alone)
            if alone is None or alone:
                steps.append(Step(by, accepts=True, origins=(Origin.PODS,), prefixes=alone, change=added))
            if told.pod_aggregates:
                wide = exactly(told.pod_aggregates)
                steps.append(Step(by, accepts=True, origins=(Origin.AGGREGATES,), prefixes=wide, change=added))
        if export.services:
            by = f"{about} export.services"
            steps.append(Step(by, accepts=True, origins=(Origin.SERVICES,), change=added))
            wide = exactly(one for one in self.settings.aggregates if one not in told.pod_aggregates)
            if wide:
                steps.append(Step(by, accepts=True, origins=(Origin.AGGREGATES,), prefixes=wide, change=added))
        return tuple(steps)
