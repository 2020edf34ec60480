"""Which of upstream's [sig-network] tests can apply to this dataplane, and why each other one is left out.

Upstream's list comes from ``e2e.test`` itself, so that a test that a new version brings is run, until a line here says
why not.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.conformance.runs import Run
from lab.site import ROUTED

# a line of e2e.test --list-tests: where the test stands in the source, then its name
_LISTED = re.compile(r"\.go:\d+: (?P<name>\[sig-network\] .*?)\s*$", re.MULTILINE)
# beside the same checks of the first family these would fight for the same ports of the nodes
_SECONDARY = re.compile("Secondary IP Family")
# these skip themselves unless each of three zones has two nodes
_ZONES = re.compile("Traffic Distribution")
# whom our own allocator gives an address, which is routed to all nodes that have an endpoint
_LOAD_BALANCER = re.compile(r"\[Feature:LoadBalancer\]")
_ROLLING = re.compile("connectivity disruption during rolling update")
# a tunnel has hooks of its own at which a policy could be missed
_POLICY = re.compile(r"\[Feature:NetworkPolicy\]")
_BALANCED = "-load-balancer"  # behind the mode, in the name of their pass
_NODES = 3
_NODES_OF_ZONES = 6


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Tests that are left out: what they are about, a pattern of their names, and the reason."""

    subject: str
    pattern: str
    reason: str


# a test is counted where the first pattern matches; to run some, take their line away
EXCLUSIONS: Sequence[Exclusion] = (
    # those that are about its name alone open no socket of it
    Exclusion(
        "SCTP", r"SCTPConnectivity", "they open SCTP sockets, and kernels may have none; `make kernels` has some"
    ),
    Exclusion("Internet", r"Internet connection|PTR records lookup", "the lab has no Internet access"),
    Exclusion("cloud", r"\[Provider:", "they look for one cloud's own names"),
    Exclusion("kube-proxy", r"KubeProxy|kube-proxy|iptables rules", "they look at kube-proxy itself; there is none"),
    Exclusion("performance", r"Performance", "they measure the speed of the machine"),
    Exclusion("API server", r"restarting apiserver", "they restart it by ssh; tests/cluster has a restart of its own"),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Upstream's tests by name: those that apply, and those that each exclusion leaves out."""

    applicable: tuple[str, ...]
    left_out: Mapping[Exclusion, tuple[str, ...]]

    @property
    def total(self) -> int:
        """How many tests upstream lists."""
        return len(self.applicable) + sum(map(len, self.left_out.values()))


@dataclass(frozen=True, slots=True)
class Pass:
    """One call of upstream's tests: how the agents are started for it, the tests' names, and the nodes they want."""

    run: Run
    names: tuple[str, ...]
    nodes: int = _NODES

    @property
    def name(self) -> str:
        """The pass's name, which is its results' folder too."""
        return self.run.name

    @property
    def machines(self) -> tuple[int, int]:
        """How many nodes it wants, and on how many subnets."""
        return self.nodes, self.run.subnets


# choosing backends at connect() hides what the packet programs do: all tests are run without it as well
MODES: Mapping[str, bool] = {"socket-lb-on": True, "socket-lb-off": False}


def listed(output: str) -> tuple[str, ...]:
    """The names of the [sig-network] tests in the output of ``e2e.test --list-tests``, each once."""
    return tuple(sorted({match["name"] for match in _LISTED.finditer(output)}))


def select(names: Iterable[str], exclusions: Sequence[Exclusion] = EXCLUSIONS) -> Selection:
    """Divide *names* into those that apply and those that are left out, by the first exclusion that matches."""
    applicable: list[str] = []
    left_out: dict[Exclusion, list[str]] = {exclusion: [] for exclusion in exclusions}
    for name in names:
        reason = next((exclusion for exclusion in exclusions if re.search(exclusion.pattern, name)), None)
        (left_out[reason] if reason else applicable).append(name)
    return Selection(tuple(applicable), {exclusion: tuple(found) for exclusion, found in left_out.items()})


def passes(applicable: Sequence[str]) -> tuple[Pass, ...]:
    """The passes that run every applicable test in each mode, those that want the same machines together.

    Two that take a quarter of an hour, and ask from outside alone where no socket hook is, run in one mode.

    Those of network policy run once more, where packets go from node to node by VXLAN.
    """
    second = tuple(name for name in applicable if _SECONDARY.search(name))
    zones = tuple(name for name in applicable if _ZONES.search(name))
    balanced = tuple(name for name in applicable if _LOAD_BALANCER.search(name))
    first = tuple(name for name in applicable if name not in {*second, *zones, *balanced})
    kinds = (
        ("", first, _NODES),
        ("-secondary", second, _NODES),
        ("-zones", zones, _NODES_OF_ZONES),
        (_BALANCED, balanced, _NODES),
    )
    found = [
        Pass(
            Run(f"{mode}{suffix}", (), socket_lb=socket_lb, load_balancer=ROUTED if suffix == _BALANCED else ""),
            chosen,
            nodes,
        )
        for mode, socket_lb in MODES.items()
        for suffix, names, nodes in kinds
        if (chosen := tuple(name for name in names if socket_lb or not _ROLLING.search(name)))
    ]
    if policy := tuple(name for name in applicable if _POLICY.search(name)):
        found.append(Pass(Run("policy-vxlan", (), "vxlan"), policy))
    return tuple(sorted(found, key=lambda each: each.machines))
