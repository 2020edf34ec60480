"""BIRD on the lab's machines: beside a node's agent as in its pod, and on a machine that is a router of the site's."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.options.config import Options
from lab.addresses import Networks, gateways, subnet_of
from lab.errors import LabError
from lab.machine import Machine

DAEMON = "bird"
CAPABILITIES = ("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW")  # of the DaemonSet's container, and no other
OUTSIDE_RANGES = ("198.51.100.0/24", "2001:db8:51::/48")  # of which nodes take what routers tell
FLAGS = ("--router=on", f"--bgp-import-cidrs={','.join(OUTSIDE_RANGES)}", "--advertise-loadbalancer-ip=on")
JOINED_WITHIN_S = 100.0  # of which most takes a few: sessions are tried again later and later on a busy machine
TOR_ASN = 64600  # of the router between the subnets
TOR = f"""
router id 10.88.0.1;
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; ipv6; interface "br*"; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
template bgp node {{ local as {TOR_ASN}; connect delay time 1; connect retry time 1; error wait time 1, 2; }}
"""
# as the DaemonSet's container: the agent writes the first configuration, and another for one that BIRD refuses
_WAIT = (
    'until [ -f "$0" ] && bird -p -c "$0"; do [ ! -f "$0" ] || mv "$0" "$0.refused"; sleep 0.1; done; '
    'exec bird -f -R -c "$0" -s "$1"'
)


def start(node: Machine, capabilities: Iterable[str] = CAPABILITIES) -> None:
    """Start a node's BIRD, with these alone; it waits for the agent's configuration."""
    folder = Options().run_dir / FOLDER
    bounding = ",".join(("-all", *(f"+{name.lower()}" for name in capabilities)))
    confined = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}"]
    node.daemon(DAEMON, [*confined, "sh", "-c", _WAIT, str(folder / CONFIG), str(folder / SOCKET)])


def stop(machine: Machine) -> None:
    """End it; the routes that it was told of stay."""
    machine.stop(DAEMON)


def peer_flags(node: Machine, subnets: int) -> Sequence[str]:
    """The agent's flags of a node that peers with the router of its subnet, in both families."""
    addresses = ",".join(map(str, gateways(subnet_of(node.name, subnets))))
    return (f"--peer-router-ips={addresses}", f"--peer-router-asns={TOR_ASN},{TOR_ASN}")


def between(nodes: Iterable[Machine], subnets: int) -> str:
    """The configuration of the router between the subnets, which knows of pods by what the nodes tell it alone."""
    asn, sessions = Options().cluster_asn, []
    for node in nodes:
        own = gateways(subnet_of(node.name, subnets))
        for family, near, far in zip(("ipv4", "ipv6"), own, node.addresses, strict=True):
            ways = f"{family} {{ import all; export none; }};"
            sessions.append(f"protocol bgp from node {{ local {near}; neighbor {far} as {asn}; {ways} }}\n")
    return TOR + "".join(sessions)


def wait(nodes: Iterable[Machine], cidrs: Mapping[str, Networks], router: Machine) -> None:
    """Return when every node, and the router, has a route to every other node's pods.

    Raises:
        LabError: one has not, in time.
    """
    deadline = time.monotonic() + JOINED_WITHIN_S
    wanted = [(one, net) for one in (*nodes, router) for name in cidrs if name != one.name for net in cidrs[name]]
    for machine, network in wanted:
        while not machine.run("ip", f"-{network.version}", "route", "show", str(network)).stdout:
            if time.monotonic() > deadline:
                raise LabError(f"{machine.name} has no route to {network}: {machine.log_tail(DAEMON)}")
            time.sleep(0.1)


def run(machine: Machine, text: str) -> None:
    """Be a router of the site's, with this configuration."""
    folder = Path("/run/bird-of-the-lab")
    machine.run("mkdir", "-p", str(folder))
    machine.run("sh", "-c", f"cat >{folder}/bird.conf", stdin=text)
    machine.daemon(DAEMON, ["bird", "-f", "-c", f"{folder}/bird.conf", "-s", f"{folder}/bird.ctl"])


def ask(machine: Machine, *words: str) -> str:
    """What such a router's birdc answers."""
    return machine.run("birdc", "-s", "/run/bird-of-the-lab/bird.ctl", *words).stdout
