"""What tests of BGP share: the router of the site's and what it tells, a Service, and how to ask and wait."""

from typing import Any

import pytest

from lab import bird
from lab.machine import Machine

BIRD = "/run/sluiceway/bird/bird.ctl"  # a node's
OUT = ("198.51.100.1", "2001:db8:51::1")  # on the router's loopback, told by BGP alone
LB = ("203.0.113.10", "2001:db8:203::10")
CLUSTER_IPS = ("10.96.0.80", "fd00:10:96::80")
TOR_ASN = 64600
SECRET = "tor-and-n1-know-it"  # noqa: S105
TOR = f"""
log stderr all;
router id 10.88.0.1;
graceful restart wait 60;
protocol device {{ scan time 10; }}
protocol bfd {{ }}
protocol direct {{ ipv4; ipv6; interface "br*"; }}
protocol static far4 {{ ipv4; route 198.51.100.0/24 blackhole; route 192.0.2.0/24 blackhole; route 0.0.0.0/0 blackhole; }}
protocol static far6 {{ ipv6; route 2001:db8:51::/48 blackhole; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; merge paths on; persist on; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; merge paths on; persist on; }}
template bgp node {{
  local as {TOR_ASN};
  graceful restart on;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export where proto = "far4"; next hop self; }};
  ipv6 {{ import all; export where proto = "far6"; next hop self; }};
}}
protocol bgp n1 from node {{ local 10.88.0.1; neighbor 10.88.0.11 as 64512; password "{SECRET}"; ipv6 {{ next hop address fd88::1; }}; }}
protocol bgp n2 from node {{ local 10.88.1.1; neighbor 10.88.1.12 as 64512; bfd on; ipv6 {{ next hop address fd88:0:0:1::1; }}; }}
"""  # noqa: E501
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80, "fd00:10:96::80"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{name: tcp, port: 80, targetPort: 8080}]
"""


def session(machine: Machine, name: str) -> tuple[list[str], float]:
    """What BIRD says of one, and the second of the day since when."""
    *about, at, state = bird.ask(machine, "show", "protocols", name).split("\n")[2].split()
    hours, minutes, seconds = at.split(":")
    return [*about, state], 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def unchanged(before: tuple[list[str], float]) -> tuple[list[str], Any]:
    """What equals the same session later: BIRD works out the time anew, and may be a millisecond off."""
    said, since_s = before
    return said, pytest.approx(since_s, abs=0.01)


def routes(machine: Machine, network: str) -> str:
    """The kernel's, to a network."""
    version = "-6" if ":" in network else "-4"
    return machine.run("ip", version, "route", "show", network).stdout


def peer(name: str, node: str, address: str, **spec: object) -> str:
    """A BGPPeer of one node."""
    given = {
        "address": address,
        "asn": TOR_ASN,
        "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": node}},
        "bothFamilies": True,
        **spec,
    }
    item = {"apiVersion": "sluiceway.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": name}, "spec": given}
    return str(item).replace("True", "true")  # YAML reads the rest as it is


def say(machine: Machine, *words: str) -> str:
    """What a node's birdc answers."""
    return machine.run("birdc", "-s", BIRD, *words, check=False).stdout
