"""What Prometheus reads of one agent; most of it is looked up at the moment of the scrape.

The values come from below through :class:`Sources`, callables that ``main`` fills in, so this file knows maps,
loop and watches by their numbers alone. A source that fails leaves its own metrics out of that scrape and is
counted; the others go on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.bgp.keeper import BgpState
from agent.ipam.lb_pool import AllocatorUse
from agent.log import logger
from agent.serve.afxdp_metrics import AfXdpUse, afxdp_families
from agent.serve.bgp_metrics import bgp_families
from agent.serve.flow_shares import OwnerUse, share_families
from agent.serve.interface_metrics import InterfaceUse, change_families, interface_families
from agent.serve.lb_metrics import allocator_families
from agent.serve.policy_metrics import PROPAGATION_BUCKETS_S, PolicyUse, policy_families
from maps import abi
from maps.traffic import traffic

log = logger(__name__)

# a sync of one endpoint takes milliseconds, the first of a big cluster seconds
SYNC_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
CNI_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 1.0, 5.0, 30.0)


@dataclass(frozen=True, slots=True)
class MapUse:
    """One map of the dataplane; *entries* is None where counting would mean reading it all."""

    name: str
    entries: int | None
    capacity: int
    octets: int


@dataclass(frozen=True, slots=True)
class PartUse:
    """One part of the node: what of it is no map."""

    name: str
    is_right: bool
    failures: int


@dataclass(frozen=True, slots=True)
class SyncUse:
    """How the reconcile loop stands."""

    synced: bool  # the first full sync is done
    age_s: float | None  # since the last one ended; None before the first
    problems: int
    failures: int = 0  # rounds that left something to do
    drift: int = 0  # records that someone else had changed
    parts: tuple[PartUse, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchUse:
    """One watch of the API server or of the manifests folder."""

    resource: str
    lag_s: float | None  # since it last heard anything; None: it never has
    restarts: int


@dataclass(frozen=True, slots=True)
class XdpUse:
    """How one uplink has the XDP program."""

    device: str
    mode: str  # native, generic; tc: it has none


@dataclass(frozen=True, slots=True)
class PoolUse:
    """The addresses of one pod CIDR."""

    cidr: str
    used: int
    free: int


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers come from; each is called once per scrape, by the server's thread."""

    maps: Callable[[], Iterable[MapUse]] = tuple
    sync: Callable[[], SyncUse] = lambda: SyncUse(synced=False, age_s=None, problems=0)
    watches: Callable[[], Iterable[WatchUse]] = tuple
    counters: Callable[[], Iterable[tuple[int, abi.Counter]]] = tuple  # the map's entries, folded over CPUs
    conntrack_gc: Callable[[], abi.GcRun | None] = lambda: None
    attachments: Callable[[], int] = lambda: 0
    pools: Callable[[], Iterable[PoolUse]] = tuple
    xdp: Callable[[], Iterable[XdpUse]] = tuple
    afxdp: Callable[[], Iterable[AfXdpUse]] = tuple
    interfaces: Callable[[], Iterable[InterfaceUse]] = tuple
    network_changes: Callable[[], Mapping[tuple[str, str], int]] = dict
    policy: Callable[[], PolicyUse] = PolicyUse
    allocator: Callable[[], AllocatorUse | None] = lambda: None
    bgp: Callable[[], BgpState | None] = lambda: None
    shares: Callable[[], Iterable[OwnerUse]] = tuple


@dataclass(slots=True)
class Metrics:
    """The registry of one agent, and what is counted as it happens."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _sync: Histogram = field(init=False)
    _policy: Histogram = field(init=False)
    _cni: Histogram = field(init=False)
    _requests: Counter = field(init=False)

    def __post_init__(self) -> None:
        """Register what is counted here."""
        self._sync = Histogram(
            "sluiceway_sync_seconds",
            "From a change of the cluster to maps that are equal to it.",
            buckets=SYNC_BUCKETS_S,
            registry=self.registry,
        )
        self._policy = Histogram(
            "sluiceway_policy_propagation_seconds",
            "From the arrival of a policy's, a label's or an address's change to the maps that pods are judged by.",
            buckets=PROPAGATION_BUCKETS_S,
            registry=self.registry,
        )
        self._cni = Histogram(
            "sluiceway_cni_seconds",
            "From a CNI request to its answer.",
            ["command"],
            buckets=CNI_BUCKETS_S,
            registry=self.registry,
        )
        self._requests = Counter(
            "sluiceway_cni_requests", "CNI requests by exit code.", ["command", "code"], registry=self.registry
        )
        ProcessCollector(registry=self.registry)

    def read_from(self, sources: Sources) -> None:
        """Look up everything else in *sources* at each scrape; called once."""
        self.registry.register(_Scrape(sources))

    def observe_sync(self, seconds: float) -> None:
        """One sync took that long."""
        self._sync.observe(seconds)

    def observe_policy(self, seconds: float) -> None:
        """One change of what pods are judged by took that long."""
        self._policy.observe(seconds)

    def observe_cni(self, command: str, code: int, seconds: float) -> None:
        """One CNI request was answered."""
        self._cni.labels(command).observe(seconds)
        self._requests.labels(command, str(code)).inc()


class _Scrape(Collector):
    """Reads the sources at the moment of a scrape."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._failures = 0

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families of all sources that answer."""
        s = self._sources
        readers: tuple[Callable[[], Iterator[Metric]], ...] = (
            lambda: _maps(s.maps()),
            lambda: _syncs(s.sync()),
            lambda: _watches(s.watches()),
            lambda: _traffic(s.counters()),
            lambda: _conntrack(s.conntrack_gc()),
            lambda: _pods(s.attachments(), s.pools()),
            lambda: _xdp(s.xdp()),
            lambda: afxdp_families(s.afxdp()),
            lambda: interface_families(s.interfaces()),
            lambda: change_families(s.network_changes()),
            lambda: policy_families(s.policy()),
            lambda: allocator_families(s.allocator()),
            lambda: bgp_families(s.bgp()),
            lambda: share_families(s.shares()),
        )
        for read in readers:
            try:
                families = list(read())
            except Exception as error:  # noqa: BLE001  a map that was just exchanged must not end the scrape
                self._failures += 1
                log.warning("metrics: a source cannot be read", error=repr(error))
                continue
            yield from families
        yield _counter("scrape_failures", "Sources that could not be read at a scrape.", self._failures)


def _maps(uses: Iterable[MapUse]) -> Iterator[Metric]:
    entries = GaugeMetricFamily("sluiceway_map_entries", "Entries in a BPF map.", labels=["map"])
    capacity = GaugeMetricFamily("sluiceway_map_capacity", "Entries a BPF map can hold.", labels=["map"])
    size = GaugeMetricFamily("sluiceway_map_bytes", "Memory the kernel charges for a BPF map.", labels=["map"])
    for use in uses:
        if use.entries is not None:
            entries.add_metric([use.name], use.entries)
        capacity.add_metric([use.name], use.capacity)
        size.add_metric([use.name], use.octets)
    yield from (entries, capacity, size)


def _syncs(use: SyncUse) -> Iterator[Metric]:
    yield _gauge("synced", "Whether the first full sync is done.", int(use.synced))
    yield _gauge("problems", "Mistakes in cluster objects that the agent works around.", use.problems)
    if use.age_s is not None:
        yield _gauge("sync_age_seconds", "Since the last sync ended.", use.age_s)
    yield _counter("sync_failures", "Rounds that left something to do.", use.failures)
    yield _counter("drift_records", "Records that someone else had changed, and that were put right.", use.drift)
    right = GaugeMetricFamily("sluiceway_part_ok", "Whether a part of the node is as it should be.", labels=["part"])
    failed = CounterMetricFamily("sluiceway_part_failures", "Times that a part could not be applied.", labels=["part"])
    for part in use.parts:
        right.add_metric([part.name], int(part.is_right))
        failed.add_metric([part.name], part.failures)
    yield from (right, failed)


def _watches(uses: Iterable[WatchUse]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "sluiceway_watch_lag_seconds", "Since a watch last heard anything, be it a bookmark.", labels=["resource"]
    )
    restarts = CounterMetricFamily("sluiceway_watch_restarts", "Watches that ended badly.", labels=["resource"])
    for use in uses:
        if use.lag_s is not None:
            lag.add_metric([use.resource], use.lag_s)
        restarts.add_metric([use.resource], use.restarts)
    yield from (lag, restarts)


def _traffic(counters: Iterable[tuple[int, abi.Counter]]) -> Iterator[Metric]:
    where = ["program", "direction"]
    why = [*where, "reason"]
    forwarded = CounterMetricFamily("sluiceway_forwarded_packets", "Packets that went on their way.", labels=where)
    forwarded_bytes = CounterMetricFamily("sluiceway_forwarded_bytes", "Their bytes, frames whole.", labels=where)
    dropped = CounterMetricFamily("sluiceway_dropped_packets", "Packets dropped or refused.", labels=why)
    dropped_bytes = CounterMetricFamily("sluiceway_dropped_bytes", "Their bytes, frames whole.", labels=why)
    for item in traffic(counters):
        labels = [item.program, item.direction]
        if item.reason:
            dropped.add_metric([*labels, item.reason], item.packets)
            dropped_bytes.add_metric([*labels, item.reason], item.octets)
        else:
            forwarded.add_metric(labels, item.packets)
            forwarded_bytes.add_metric(labels, item.octets)
    yield from (forwarded, forwarded_bytes, dropped, dropped_bytes)


def _conntrack(gc: abi.GcRun | None) -> Iterator[Metric]:
    if gc is None:
        return
    yield _gauge("conntrack_flows", "Entries of the flow table, as conntrack GC last saw it.", gc.flows)
    yield _gauge("conntrack_unanswered", "Those that nobody has answered.", gc.unanswered)
    yield _counter("conntrack_expired", "Flows ended by conntrack GC.", gc.expired)
    yield _counter("conntrack_gc_runs", "Runs of conntrack GC.", gc.runs)


def _pods(attachments: int, pools: Iterable[PoolUse]) -> Iterator[Metric]:
    yield _gauge("attachments", "Interfaces given to pods.", attachments)
    used = GaugeMetricFamily("sluiceway_addresses_used", "Addresses of a pod CIDR in use.", labels=["cidr"])
    free = GaugeMetricFamily("sluiceway_addresses_free", "Addresses of a pod CIDR left.", labels=["cidr"])
    for pool in pools:
        used.add_metric([pool.cidr], pool.used)
        free.add_metric([pool.cidr], pool.free)
    yield from (used, free)


def _xdp(uses: Iterable[XdpUse]) -> Iterator[Metric]:
    mode = GaugeMetricFamily(
        "sluiceway_xdp_mode", "1, for how an uplink has the XDP program; tc: it has none.", labels=["device", "mode"]
    )
    for use in uses:
        mode.add_metric([use.device, use.mode], 1)
    yield mode


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sluiceway_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"sluiceway_{name}", text, value=value)
