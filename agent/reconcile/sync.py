"""One node's maps, hooks and routes, brought to what a Cluster asks for; the loop gives it its turns.

What was written last is kept as a value, so a round costs what changed. After a failure that value is unknown, and
the next round reads the maps back instead; so does the first, which adopts what an earlier agent left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.compile import endpoint
from agent.compile.desired import desired
from agent.compile.ids import Ids, recovered
from agent.compile.local import NODE_PORTS, NOTHING_BETWEEN, local_records
from agent.compile.node import Links, Ports
from agent.compile.records import Desired
from agent.compile.route import Route
from agent.compile.tunnel import Between, Tunnel, pod_mtu, tunnel
from agent.compile.uplink import uplinks
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.reconcile.attachments import Overlay, devices
from agent.reconcile.between import BetweenMaps
from agent.reconcile.kernel import Kernel
from agent.reconcile.local import LocalMaps
from agent.reconcile.order import WRITES, Contents, apply, contents, moved
from agent.reconcile.staged import turns
from maps.apply import read


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options say that reconcile needs."""

    node_name: str
    node_ports: Ports = NODE_PORTS
    devices: Sequence[str] = ()  # --devices; none: found by rule
    between: Between = NOTHING_BETWEEN


@dataclass(slots=True)
class _Done:
    """What the kernel was last asked for, and did."""

    pods: dict[int, str] | None = None
    settled: set[int] = field(default_factory=set)  # pods' devices
    uplinks: tuple[Device, ...] | None = None
    routes: tuple[Route, ...] | None = None
    wires: bool = False
    mtus: Mapping[int, int] = field(default_factory=dict)  # of pods' wires, by ifindex
    tunnel: tuple[Tunnel | None, tuple[Device, ...]] | None = None  # and the devices of that moment


class Sync:
    """Everything that the reconcile thread owns. The constructor reads what an earlier agent left."""

    def __init__(self, kernel: Kernel, settings: Settings) -> None:
        self.overlay = Overlay()
        self.cluster = Cluster()
        self._kernel = kernel
        self._settings = settings
        self._ids: Ids = recovered(
            read(kernel.tables.backend_sets), read(kernel.tables.backends), read(kernel.tables.remotes)
        )
        self._compiled: Desired | None = None
        self._actual: Desired | None = None  # what the maps of services hold; None: read back first
        self._counts: dict[str, int] = {}
        self._local = LocalMaps(kernel.tables)
        self._between = BetweenMaps(kernel.tables)
        self._links: Links | None = None  # None: as an earlier agent left it
        self._done = _Done()
        self._is_here = False  # whether this node's own records are as they were last asked for
        self.pod_mtu = 0  # that pods were last to have; 0: not known yet

    @property
    def compiled(self) -> Desired | None:
        """What was last asked of the maps."""
        return self._compiled

    @property
    def written(self) -> Desired | None:
        """What the maps of services hold; None while that is not known."""
        return self._actual

    @property
    def generation(self) -> int:
        """The node's generation as last written."""
        return self._local.generation

    def offer(self, cluster: Cluster) -> None:
        """Work towards this Cluster from now on."""
        self.cluster = cluster
        self.overlay.forget(cluster)

    def services(self) -> Iterator[int]:
        """Bring the maps of services up to date; yields after each piece how many records it had.

        Before every source has synced they stay as they are.

        Raises:
            MapFull: nothing was written.
            MapsError: the kernel refused; what was written is unknown until the next call reads it.
        """
        cluster, settings = self.overlay.over(self.cluster), self._settings
        if not cluster.synced:
            return
        wanted = desired(cluster, settings.node_name, self._ids, self._compiled, settings.node_ports, settings.between)
        self._compiled, self._ids = wanted, wanted.ids
        if self._actual is None:
            held = {name: read(getattr(self._kernel.tables, name)) for name in WRITES}
            self._counts = {name: len(entries) for name, entries in held.items()}
            yield from self._write(held, contents(wanted.services), wanted)
        else:
            yield from self._write(*moved(self._actual, wanted), wanted)

    def here(self) -> int:
        """Bring this node's own records up to date; returns how many that took.

        Raises:
            MapFull: one of the maps has no room.
        """
        cluster, settings = self.overlay.over(self.cluster), self._settings
        node = cluster.nodes.get(settings.node_name)
        self._is_here = False
        compiled, written = self._compiled, 0
        if compiled is not None and (written := self._between.write(compiled.between)):
            self._local.flows_look_again()
        if compiled is not None and compiled.source is cluster:
            records = compiled.local
        else:
            records = local_records(cluster.local, node, settings.node_ports, settings.between)
        written += self._local.write(
            records,
            links=self._links,
            known=cluster.synced or (node is not None and cluster.local.netns_cookie != 0),
            gone=self.overlay.leaving(),
            prune=cluster.synced,
        )
        self.overlay.settled()
        self._is_here = True
        return written

    def come_and_gone(self) -> int:
        """As :meth:`here`, for pods that came or went since and nothing else, at the cost of these alone.

        What all pods share, such as which ports are left for translation, follows with the next round, unless one
        that came has a part in it.
        """
        come = self.overlay.coming()
        if not self._is_here or any(a.host_ports or a.ingress_limit or a.egress_limit for a in come):
            return self.here()
        self._is_here = False
        written = self._local.write_pods(endpoint.endpoints(come, ()), endpoint.pods(come), self.overlay.leaving())
        self.overlay.settled()
        self._is_here = True
        return written

    def pods(self) -> None:
        """Have the pod programs on the devices of attachments; they go with the device."""
        cluster = self.overlay.over(self.cluster)
        wanted = devices(cluster.local.attachments)
        if wanted != self._done.pods:
            done, self._done.pods = self._done.pods or {}, None
            self._kernel.sync_pods({ifindex: name for ifindex, name in wanted.items() if ifindex not in done})
            self._done.pods = wanted

    @property
    def is_unsettled(self) -> bool:
        """Whether :meth:`settle` has something to do."""
        return self._done.pods is not None and self._done.pods.keys() != self._done.settled

    def settle(self) -> None:
        """Do one thing of those that cost time and can wait: one more pod's programs, or what pods left behind.

        Raises:
            AgentError: the kernel refused; it is not tried again before the next sweep.
        """
        pods, settled = self._done.pods or {}, self._done.settled
        if settled - pods.keys():
            settled.intersection_update(pods)
            self._kernel.forget_pods()
            return
        ifindex = min(pods.keys() - settled)
        settled.add(ifindex)
        self._kernel.settle_pod(ifindex)

    def attach(self, attachment: Attachment) -> None:
        """Have an attachment from now on; who asks has put the programs on its device."""
        self.overlay.attach(attachment)
        if self._done.pods is not None:
            self._done.pods[attachment.link.ifindex] = attachment.link.host_device

    def wires(self) -> None:
        """Have the node's side of every pod's wire, which ADD laid, where somebody may have touched it."""
        if not self._done.wires:
            self._kernel.mend_pods(self.overlay.over(self.cluster).local.attachments)
            self._done.wires = True

    def mtus(self) -> None:
        """Have the MTU that follows from the uplinks on both ends of each pod's wire; ADD gave what it was then."""
        if not self.cluster.synced or self._compiled is None:
            return
        there = self.overlay.over(self.cluster).local.attachments
        self.pod_mtu = wanted = pod_mtu(self._settings.between, self._tunnel(self._compiled), self._uplinks())
        unknown = tuple(a for a in there if self._done.mtus.get(a.link.ifindex) != wanted)
        if unknown:
            self._kernel.resize_pods(unknown, wanted)
        self._done.mtus = {a.link.ifindex: wanted for a in there}

    def look_again(self) -> None:
        """Somebody took away something of ours: compare routes, wires and the tunnel with the kernel."""
        self._done.routes = self._done.tunnel = None
        self._done.wires = False

    def uplinks(self) -> None:
        """Have the uplink programs on the node's devices."""
        wanted = self._uplinks()
        if wanted != self._done.uplinks and self.cluster.synced:
            self._done.uplinks = None
            self._kernel.sync_uplinks(wanted)
            self._done.uplinks = wanted

    def tunnel(self) -> None:
        """Have the device that encapsulates, before a record or a route names it."""
        if not self.cluster.synced or self._compiled is None:
            return
        if (wanted := self._tunnel(self._compiled)) is not None:
            self._sync_tunnel(wanted)
        else:
            self._links = Links()

    def no_tunnel(self) -> None:
        """Have no such device where none is wanted, once nothing names it."""
        if self.cluster.synced and self._compiled is not None and self._tunnel(self._compiled) is None:
            self._sync_tunnel(None)

    def _tunnel(self, compiled: Desired) -> Tunnel | None:
        return tunnel(self._settings.between, compiled.between, self._uplinks())

    def _uplinks(self) -> tuple[Device, ...]:
        cluster, settings = self.cluster, self._settings
        return uplinks(settings.devices, cluster.nodes.get(settings.node_name), cluster.local.devices)

    def _sync_tunnel(self, wanted: Tunnel | None) -> None:
        # the device is among those of the node, so a change of it brings us here again
        asked = (wanted, self.cluster.local.devices)
        if asked != self._done.tunnel:
            self._done.tunnel = None
            self._links = self._kernel.sync_tunnel(wanted)
            self._done.tunnel = asked

    def routes(self) -> None:
        """Have the routes to other nodes' pods."""
        if not self.cluster.synced or self._compiled is None:
            return
        wanted = self._compiled.between.routes
        if wanted != self._done.routes:
            self._done.routes = None
            self._kernel.sync_routes(wanted)
            self._done.routes = wanted

    def sweep(self) -> Iterator[int]:
        """Read everything back and put right what someone else changed, in pieces; yields records put right.

        Raises:
            MapsError: the kernel refused.
        """
        actual = self._actual
        if actual is None:
            return
        held = {}
        for name in WRITES:
            held[name] = read(getattr(self._kernel.tables, name))
            yield 0
        self._counts = {name: len(entries) for name, entries in held.items()}
        yield from self._write(held, contents(actual.services), actual)
        self.here()
        self._local.read_again()
        self._between.read_again()
        self._done = _Done()
        yield self.here()

    def _write(self, old: Contents, new: Contents, wanted: Desired) -> Iterator[int]:
        """Turn *old* into *new*, after which the maps hold *wanted*; until then, what they hold is unknown."""
        tables = self._kernel.tables
        rooms = {name: getattr(tables, name).max_entries for name in WRITES}
        for plan in turns(old, new, self._counts, rooms):
            self._actual = None
            try:
                yield from apply(plan, tables)
            finally:
                if plan["backends"].remove:
                    self._local.flows_look_again()
            self._counts = {name: self._counts[name] + plan[name].growth for name in WRITES}
        self._actual = wanted
