"""The runs that ``make conformance`` makes: which of upstream's tests, and how the nodes' agents are started for them.

One line a run. All are on one cluster, whose agents start anew between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.conformance import results
from lab.site import ANNOUNCED, Options

CONFORMANCE = "required.txt"
GRANULAR = "granular.txt"
SECONDARY = "secondary.txt"
POLICY = "policy.txt"
LOAD_BALANCER = "load_balancer.txt"
BGP = "bgp.txt"
SUBNETS = 2  # n1 and n3 are neighbours, n2 is behind the router
ONE_SUBNET = 1  # on which every node can announce an address, and be the next hop


@dataclass(frozen=True, slots=True)
class Run:
    """A run by its name, which is its results' folder too."""

    name: str
    lists: tuple[str, ...]  # of the tests that must pass
    encapsulation: str = "native"
    cross_subnet: bool = False
    socket_lb: bool = False  # choosing backends at connect() hides what the packet programs do
    daemonset: bool = False  # the agents in pods of their image, as users have them
    by_name: bool = False  # runs only when it is named: the lab's own tests have the same, or time is short
    router: bool = False  # nodes, and the router between their subnets, know of pods by BGP alone
    load_balancer: str = ""  # our allocator gives addresses, ANNOUNCED by nodes or ROUTED to them

    @property
    def subnets(self) -> int:
        """How many the nodes are on."""
        return ONE_SUBNET if self.load_balancer else SUBNETS

    def required(self) -> tuple[str, ...]:
        """The names of the tests that must pass; one that stands in two lists runs once."""
        return tuple(dict.fromkeys(name for chosen in self.lists for name in results.required(chosen)))

    def options(self, options: Options) -> Options:
        """What the lab's options are in this run."""
        return replace(
            options,
            socket_lb=self.socket_lb,
            encapsulation=self.encapsulation,
            cross_subnet=self.cross_subnet,
            router=self.router,
            load_balancer=self.load_balancer,
            daemonset=self.daemonset,
        )


# GRANULAR and SECONDARY in one would fight for the same ports of the nodes
RUNS: Sequence[Run] = (
    Run("socket-lb-on", (CONFORMANCE, SECONDARY), socket_lb=True),
    Run("socket-lb-off", (CONFORMANCE, GRANULAR)),
    Run("bgp", (BGP,), router=True),
    Run("bgp-whole", (CONFORMANCE, GRANULAR), router=True, by_name=True),
    Run("bgp-daemonset", (BGP,), router=True, daemonset=True, by_name=True),
    Run("policy", (POLICY,)),
    Run("policy-vxlan", (POLICY,), "vxlan", by_name=True),
    Run("vxlan", (GRANULAR,), "vxlan", daemonset=True),
    Run("vxlan-cross-subnet", (SECONDARY,), "vxlan", cross_subnet=True, socket_lb=True, by_name=True),
    Run("ipip", (GRANULAR,), "ipip"),
    Run("geneve", (GRANULAR,), "geneve"),
    Run("load-balancer", (LOAD_BALANCER,), load_balancer=ANNOUNCED),
)
NAMES = tuple(run.name for run in RUNS)


def chosen(names: Sequence[str]) -> tuple[Run, ...]:
    """The runs of these names, in the table's order; when none is named all that do not ask for it."""
    return tuple(run for run in RUNS if (run.name in names if names else not run.by_name))
