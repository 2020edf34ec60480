"""One lab: its machines by name, its folder, and the way all of it is made and taken away.

Nothing is remembered but by the folder and the cgroups: every command of the lab finds both by the lab's name, and
`down` needs neither to be complete.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import cgroups, underlay
from lab.addresses import (
    CONTROL_PLANE,
    MAX_NODES,
    MAX_SUBNETS,
    OUTSIDE,
    ROUTER,
    UNDERLAY4,
    Networks,
    node_names,
    on_underlay,
    subnet_of,
)
from lab.errors import LabError, LabExistsError
from lab.machine import Machine, Setup

DEFAULT_NAME = "swlab"
ANNOUNCED, ROUTED = "announced", "routed"  # how load balancers' addresses are reached
# outside /tmp and /run, of which a machine has its own
STATE = Path(os.environ.get("SLUICEWAY_LAB_STATE", "/var/tmp/sluiceway-lab"))  # noqa: S108
KUBELET_FOLDERS = ("lib/containerd", "lib/kubelet", "log/pods", "log/containers")
# what a kubelet insists on, and belongs to the whole kernel
KUBELET_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked of `lab up`."""

    nodes: int = 3
    kubernetes: bool = False
    socket_lb: bool = True
    checksums: bool = True
    subnets: int = 1
    encapsulation: str = "native"
    cross_subnet: bool = False
    forwarding: str = "snat"
    load_balancer: str = ""  # the agents give Services addresses of a pool, ANNOUNCED by them or ROUTED; one subnet
    router: bool = False  # nodes speak BGP, and who is no node knows of pods by that alone
    daemonset: bool = False  # the agents, with a real Kubernetes


@dataclass(frozen=True, slots=True)
class Site:
    """The machines of a lab that is up, or on its way."""

    name: str
    options: Options

    @property
    def folder(self) -> Path:
        """The lab's folder, which its machines see at the same place."""
        return STATE / self.name

    @property
    def manifests(self) -> Path:
        """The folder that stands for the API server."""
        return self.folder / "manifests"

    @property
    def node_names(self) -> tuple[str, ...]:
        """n1, n2, ..."""
        return node_names(self.options.nodes)

    @property
    def nodes(self) -> tuple[Machine, ...]:
        """The machines that run pods."""
        return tuple(self.machine(name) for name in self.node_names)

    @property
    def outside(self) -> Machine:
        """A host that is no node."""
        return self.machine(OUTSIDE)

    @property
    def neighbours(self) -> tuple[Machine, ...]:
        """The nodes of the first subnet: one link, no router between them."""
        return tuple(node for node in self.nodes if subnet_of(node.name, self.options.subnets) == 0)

    @property
    def control_plane(self) -> Machine:
        """Where etcd and the API server run; only with a real Kubernetes."""
        return self.machine(CONTROL_PLANE)

    @property
    def machine_names(self) -> tuple[str, ...]:
        """Everybody on the underlay."""
        return (*([CONTROL_PLANE] if self.options.kubernetes else []), OUTSIDE, *self.node_names)

    def machine(self, name: str) -> Machine:
        """A machine by its name.

        Raises:
            LabError: the lab has none of this name.
        """
        if name not in (ROUTER, *self.machine_names):
            raise LabError(f"no machine {name}: there are {', '.join(self.machine_names)}")
        return Machine(name, self.folder / name, on_underlay(name, self.options.subnets), _cgroups(self.name))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One command changes the lab at a time."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def create(name: str, options: Options) -> Site:
    """Make the machines and the wire between them.

    Raises:
        LabExistsError: the lab is up already.
        LabError: the kernel refused something; `remove` takes away what there is.
    """
    _require_root()
    if not 1 <= options.nodes <= MAX_NODES:
        raise LabError(f"{options.nodes} nodes: a lab has 1 to {MAX_NODES}")
    if not 1 <= options.subnets <= MAX_SUBNETS:
        raise LabError(f"{options.subnets} subnets: a lab has 1 to {MAX_SUBNETS}")
    site = Site(name, options)
    if site.folder.exists() or _cgroups(name).unified.exists():
        raise LabExistsError(f"a lab {name} is there already: python -m lab down")
    site.manifests.mkdir(parents=True)
    (site.folder / "lab.json").write_text(json.dumps(asdict(options)))
    router = site.machine(ROUTER)
    machines = [site.machine(machine) for machine in site.machine_names]
    setup = _setup(site)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda machine: machine.start(setup), [router, *machines]))
    underlay.connect(router, machines, subnets=options.subnets, checksums=options.checksums)
    return site


def route_to_pods(site: Site, cidrs: Mapping[str, Networks]) -> None:
    """Routes to the pods of the nodes, by name, for those that are no nodes.

    Where pods' packets are encapsulated the network knows no pods: what leaves a node as it is goes nowhere. With BGP
    the router between the subnets is told of them.
    """
    nodes = {site.machine(name).addresses: networks for name, networks in cidrs.items()}
    near = {addresses: networks for addresses, networks in nodes.items() if addresses[0] in UNDERLAY4}
    is_native = site.options.encapsulation == "native"
    for name in (ROUTER, OUTSIDE):
        if site.options.router:
            underlay.forget_pods(site.machine(name), nodes.values())
        elif is_native:
            # all else goes by the router
            underlay.route_to_pods(site.machine(name), nodes if name == ROUTER else near)
        else:
            underlay.refuse_pods(site.machine(name), nodes.values())
    if site.options.kubernetes:  # the API server's proxy needs it
        underlay.route_to_pods(site.control_plane, near)


def find(name: str) -> Site:
    """The lab that is up.

    Raises:
        LabError: there is none, or it is not root who asks.
    """
    _require_root()
    try:
        saved = json.loads((STATE / name / "lab.json").read_text())
    except (FileNotFoundError, ValueError) as error:
        raise LabError(f"no lab {name} is up: python -m lab up") from error
    return Site(name, Options(**saved))


def remove(name: str) -> None:
    """End everything in the lab and remove its traces; complete, half made or gone already.

    Raises:
        LabError: a process does not end.
    """
    _require_root()
    # a machine that is being made finds neither cgroup nor folder, and ends
    _cgroups(name).end()
    shutil.rmtree(STATE / name, ignore_errors=True)
    if STATE.is_dir() and not any(STATE.iterdir()):
        STATE.rmdir()


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("only root makes and enters namespaces: try sudo")


def _cgroups(name: str) -> cgroups.Cgroups:
    return cgroups.find(name, Path("/proc/self/mountinfo").read_text())


def _setup(site: Site) -> Setup:
    names = "".join(f"{site.machine(name).addresses[0]} {name}\n" for name in site.machine_names)
    return Setup(
        hosts=f"127.0.0.1 localhost\n::1 localhost\n{names}",
        resolver=str(on_underlay(OUTSIDE)[0]),
        folders=KUBELET_FOLDERS if site.options.kubernetes else (),
        tunables=KUBELET_TUNABLES if site.options.kubernetes else {},
    )
