"""A service with a scheduler on the node in miniature, as the agent compiles and changes it, and who is given what."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.packet import Packet

from agent.compile.desired import Desired, desired
from agent.compile.records import Records
from agent.model.service import Protocol, Service, ServicePort, WeightOf, Weights
from maps import abi
from maps.shares import open_now
from tests.agent.compile.objects import FRESH, SETTINGS, cluster, endpoint, name, piece
from tests.bpf.datapath import POD, POD6, VIP, VIP6, Datapath, datagram, frame, syn
from tests.bpf.packets import addresses

PODS, PODS6 = [f"10.244.2.{n}" for n in range(1, 8)], [f"fd00:2::{n}" for n in range(1, 8)]
FAMILIES = [pytest.param(POD, VIP, PODS, id="IPv4"), pytest.param(POD6, VIP6, PODS6, id="IPv6")]
TRANSPORTS = [pytest.param(Protocol.TCP, id="TCP"), pytest.param(Protocol.UDP, id="UDP")]
BOTH = [
    pytest.param(*family.values, *transport.values, id=f"{family.id} {transport.id}")
    for family in FAMILIES
    for transport in TRANSPORTS
]


def order_of(table: str) -> int:
    """When the agent writes it."""
    return abi.MAPS[table].order


def run_of(node: Datapath) -> int:
    """Which run of conntrack GC counts now."""
    ((_, walk),) = node.tables["load_walks"].items()
    return int(walk.run)


class Live:
    """A service as the agent compiles it and writes it, and changes it."""

    def __init__(self, node: Datapath, vip: str, backends: list[str], protocol: Protocol = Protocol.TCP) -> None:
        self.node, self.vip, self.protocol = node, vip, protocol
        self.backends = backends
        self.value = Service(name("web"), (ip_address(vip),), ports=(ServicePort("http", protocol, 80),))
        self._desired: Desired = FRESH
        self._records = Records()

    def now(self, backends: list[str] | None = None, weights: Mapping[str, int] | None = None, **fields: Any) -> "Live":
        """Change it, as the tracker would: written in order, then removed in reverse."""
        self.backends = self.backends if backends is None else backends
        if weights is not None:
            fields["weights"] = Weights({(WeightOf.NODE, f"node-{ip}"): w for ip, w in weights.items()})
        self.value = replace(self.value, **fields)
        slices = piece("web", *(endpoint(ip, f"node-{ip}") for ip in self.backends), protocol=self.protocol)
        self._desired = desired(cluster(self.value, slices), SETTINGS, self._desired)
        self._write(self._desired.services.records[name("web")].records)
        return self

    def ask(self, pod: str, sport: int, l4: Packet | None = None) -> str:
        """Who is given what begins so."""
        made = l4 or (syn(sport) if self.protocol is Protocol.TCP else datagram(sport, 80))
        return addresses(self.node.run("pod_ingress", frame(pod, self.vip, made)).packet)[1]

    def asked(self, pod: str, sports: Iterable[int]) -> list[str]:
        """Who is given each."""
        return [self.ask(pod, sport) for sport in sports]

    def open(self) -> dict[str, int]:
        """What each backend has, as dpctl shows it."""
        run = run_of(self.node)
        by_key = dict(self.node.tables["backends"].items())
        counted = self.node.tables["loads"].items()
        return {str(by_key[key].addr.ipv4_mapped or by_key[key].addr): open_now(load, run) for key, load in counted}

    def _write(self, wanted: Records) -> None:
        before, self._records = self._records, wanted
        for table_name in sorted(dict(wanted.items()), key=order_of):
            old = before.of_map(table_name)
            new = {key: value for key, value in wanted.of_map(table_name).items() if old.get(key) != value}
            self.node.tables[table_name].update_packed(b"".join(new), b"".join(new.values()), len(new))
        for table_name in sorted(dict(before.items()), key=order_of, reverse=True):
            gone = before.of_map(table_name).keys() - wanted.of_map(table_name).keys()
            self.node.tables[table_name].delete_packed(b"".join(gone), len(gone))
        self.node.forget_locations()
