"""Where cluster objects come from: an API server, or a folder of manifests; and who writes Events to the former.

Kubernetes' client is imported only for an API server: it costs a start with a folder 0.2 s and 17 MiB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.model.ip_pool import IpPool
from agent.model.name import ObjectName, Problem
from agent.model.network import NetworkDefinition
from agent.model.node import Pod
from agent.options.config import Options
from agent.threads import Threads
from agent.watch import manifests, met
from agent.watch.decode.ip_pool import IP_POOL_KIND
from agent.watch.decode.kind import Kind, Value
from agent.watch.decode.kinds import ALLOCATED, NEEDED, POLICIES, POOLED, ROUTED
from agent.watch.decode.multi_network_policy import MULTI_NETWORK_POLICY
from agent.watch.decode.network_attachment import NETWORK_ATTACHMENT
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.decode.pod import POD
from agent.watch.met import Met
from agent.watch.mirror import Mirror
from agent.watch.status import WatchStatus

if TYPE_CHECKING:
    from agent.kube.client import Client
    from agent.kube.events import Events
    from agent.watch.api import ApiSource

NoAddress = Callable[[ObjectName, str, str], None]


class Source(Protocol):
    """What delivers cluster objects to the mirror."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def status(self) -> tuple[WatchStatus, ...]:
        """How each watch fares, from any thread."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The source, and what goes the other way."""

    objects: Source
    events: "Events | None"  # None: a folder takes none
    watch_peers: Callable[[bool], None] = lambda _: None  # pods of all nodes, from now on or no more
    watch_allocated: Callable[[bool], None] = lambda _: None  # what load balancer addresses are allocated by

    @property
    def no_address(self) -> NoAddress:
        """What takes note of a pod that could not be given an address."""
        return self.events.no_address if self.events else lambda *_: None

    def tell(self, problems: tuple[Problem, ...]) -> None:
        """What cannot be used now, of which this node's own and its Pods' becomes Events."""
        if self.events:
            self.events.local_problems(problems)

    def start(self) -> None:
        """Begin."""
        self.objects.start()
        if self.events:
            self.events.start()

    def stop(self) -> None:
        """End, both at a time: SIGTERM waits for neither."""
        if self.events:
            self.events.end()
        self.objects.stop()
        if self.events:
            self.events.join(timeout_s=0.1)


def expected(options: Options) -> tuple[Kind, ...]:
    """The kinds that must have been listed before the cluster is known."""
    if options.manifests:
        return manifests.EXPECTED
    policies = POLICIES if options.network_policy else ()
    routed = ROUTED if options.router else ()
    networks = (NETWORK_ATTACHMENT,) if options.networks else ()
    multi = (MULTI_NETWORK_POLICY,) if options.networks and options.network_policy else ()
    return (*NEEDED, *policies, *routed, *networks, *multi, *(POOLED if options.ip_pools else ()))


def api_client(options: Options) -> "Client | None":
    """The client of the API server that the options name; None where they name a folder.

    Raises:
        ConfigError: the kubeconfig cannot be read.
    """
    if options.manifests:
        return None
    from agent.kube.client import Client, connect  # noqa: PLC0415  as the module says

    client = Client(lambda: connect(options.kubeconfig))
    client.check()
    return client


def sources(options: Options, client: "Client | None", mirror: Mirror, threads: Threads) -> Sources:
    """The sources that the options ask for; none has begun. *client* is of :func:`api_client`."""
    if client is None:
        folder = options.manifests or Path()
        return Sources(manifests.ManifestsSource(folder, options.node_name, mirror, threads), None)
    from agent.kube.events import Events  # noqa: PLC0415  as the module says
    from agent.watch.api import ApiSource  # noqa: PLC0415

    events = Events(
        client,
        options.node_name,
        threads,
        pod_uid=lambda name: _uid(mirror.held(POD, name)),
        definition_uid=lambda name: _uid(mirror.held(NETWORK_ATTACHMENT, name)),
        pool_uid=lambda name: _uid(mirror.held(IP_POOL_KIND, name)),
    )
    objects = ApiSource(
        client, options.node_name, mirror, threads, expected(options), met=Met(options.run_dir / met.FOLDER)
    )
    return Sources(
        objects,
        events,
        lambda needed: (objects.watch if needed else objects.unwatch)(PEER_POD),
        partial(_watch_allocated, objects),
    )


def _watch_allocated(objects: "ApiSource", needed: bool) -> None:  # noqa: FBT001  as the callers have it
    for kind in ALLOCATED:
        (objects.watch if needed else objects.unwatch)(kind)


def _uid(held: Value | None) -> str:
    if isinstance(held, Pod):
        return held.static_uid or held.uid  # `kubectl describe` asks by the first, as the kubelet writes it
    return held.uid if isinstance(held, NetworkDefinition | IpPool) else ""
