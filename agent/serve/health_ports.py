"""The ports at which load balancers ask: each service's health-check node port, and the node's own, kube-proxy's 10256.

The services' follow what the maps have, as a part of the node: a balancer hears of an endpoint when it is served.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from agent.compile.desired import Desired
from agent.compile.health_check import HealthCheck
from agent.compile.node_port import EVERY, listening_addresses
from agent.model.address import Address
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.options.service import NodePortAddresses
from agent.serve.health_pages import is_healthy, node_page, service_page
from agent.serve.open_clients import Site
from agent.serve.plain_http import Answer
from agent.serve.port_server import ANY4, ANY6, RETRY_S, Page, PortServer
from agent.threads import Threads

NODES = "Node"  # the kind, as Cluster.listed has it
Checks = Mapping[ObjectName, HealthCheck]
Addresses = Sequence[Address]


@dataclass(frozen=True, slots=True)
class Health:
    """What is asked when an answer is given, from any thread."""

    trouble: Callable[[], str]  # of the agent's threads; empty: none
    pending_s: Callable[[], float]  # for how long the oldest change waits that is not written
    is_eligible: Callable[[], bool]  # the node, for new connections

    @property
    def is_healthy(self) -> bool:
        """Whether what the cluster says reaches the kernel."""
        return is_healthy(self.trouble(), self.pending_s())


def is_eligible(cluster: Cluster, node_name: str) -> bool:
    """Whether load balancers may send this node new connections: it is there, and is not about to go."""
    node = cluster.nodes.get(node_name)
    if node is None:  # in a folder of manifests there may be none at all
        return NODES not in cluster.listed or not cluster.nodes
    return not node.is_leaving


class HealthPorts:
    """All of them, served by one thread."""

    def __init__(self, node_name: str, own: tuple[str, int] | None, health: Health, threads: Threads) -> None:
        """*own* is where the node's health is asked, an address and port; None: nowhere."""
        self._node_name = node_name
        self._health = health
        self._server = PortServer("health ports", threads)
        self._own = {Site(address, own[1]): self._node_page for address in _addresses(own[0])} if own else {}
        self._asked: Mapping[Site, HealthCheck] = {}
        self._contended: tuple[Problem, ...] = ()

    def start(self) -> None:
        """Begin, with the node's own port."""
        self._server.serve(self._own)
        self._server.start()

    def stop(self) -> None:
        """Close every port."""
        self._server.stop()

    def serve(self, checks: Checks, addresses: Addresses = EVERY) -> None:
        """Answer for these services at these addresses, and for no others; returns at once."""
        asked: dict[Site, HealthCheck] = {}
        contended = []
        for _, check in sorted(checks.items()):
            for address in addresses:
                site = Site(str(address), check.port)
                if asked.setdefault(site, check) is not check:
                    contended.append(_problem(check, f"Service {asked[site].service} has it already, and keeps it"))
        self._asked, self._contended = asked, tuple(dict.fromkeys(contended))
        pages: dict[Site, Page] = {site: partial(self._service_page, check, site) for site, check in asked.items()}
        self._server.serve({**pages, **self._own})

    def problems(self) -> tuple[Problem, ...]:
        """Ports that cannot be opened, from any thread."""
        return (*self._contended, *(self._refused(site, why) for site, why in self._server.refused().items()))

    def _refused(self, site: Site, why: str) -> Problem:
        text = f"port {site.port} of {site.address} cannot be opened: {why}; tried again every {RETRY_S:.0f} s"
        check = self._asked.get(site)
        if check is not None and site not in self._own:
            return _problem(check, text)
        return Problem("Node", ObjectName("", self._node_name), "--healthz-bind-address", text)

    def _service_page(self, check: HealthCheck, site: Site, _path: str) -> Answer:
        return service_page(check, 6 if ":" in site.address else 4, healthy=self._health.is_healthy)

    def _node_page(self, path: str) -> Answer:
        now, health = datetime.now(UTC), self._health
        updated = now - timedelta(seconds=health.pending_s())
        return node_page(path, now, updated, healthy=health.is_healthy, eligible=health.is_eligible())


class HealthPortsPart:
    """The services' ports, after the maps."""

    name = "health-check node ports"
    is_before_maps = is_vital = is_watched = False

    def __init__(self, serve: Callable[[Checks, Addresses], None], given: NodePortAddresses = ()) -> None:
        """*given* says at which addresses of the node they are, as it does of node ports."""
        self._serve, self._given = serve, given

    def wanted(self, desired: Desired) -> tuple[Checks, Addresses] | None:
        """Every service's, once all is known, and where."""
        if not desired.synced:
            return None
        held = (address for device in desired.devices for address in device.addresses)
        return desired.services.checks, listening_addresses(held, desired.context.node, self._given)

    def apply(self, wanted: tuple[Checks, Addresses]) -> Iterator[None]:
        """Hand them to the thread that serves them, which tries again by itself."""
        self._serve(*wanted)
        yield from ()

    def resync(self) -> None:
        """Nobody else closes them."""


def _problem(check: HealthCheck, text: str) -> Problem:
    return Problem("Service", check.service, "spec.healthCheckNodePort", text)


def _addresses(given: str) -> tuple[str, ...]:
    """Those to listen at: every address of both families where it is IPv6's unspecified one."""
    return (ANY4, ANY6) if given == ANY6 else (given,)
