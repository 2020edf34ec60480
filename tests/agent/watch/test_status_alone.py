"""What agents and kubelets write into statuses, again and again, is no news to any other agent."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.compile.bgp import bgp as compiled
from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.sessions import Making
from agent.compile.bgp.settings import BgpSettings
from agent.model.cluster import Cluster
from agent.watch.decode.bgp_peer import BGP_PEER
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.kind import Kind
from agent.watch.decode.kinds import KINDS
from agent.watch.decode.node import NODE
from agent.watch.mirror import Mirror
from tests.agent.compile.objects import HERE

NODES = 100
CONDITION = {"type": "Accepted", "status": "True", "reason": "Valid", "observedGeneration": 1}
HEARTBEAT = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-30T12:00:00Z"}
SPECS: dict[str, dict[str, Any]] = {
    "BGPPeer": {"address": "192.0.2.1", "asn": 64600},
    "IPPool": {"cidrs": ["10.50.0.0/16"]},
    "IPBlock": {"cidr": "10.50.0.0/26", "pool": "pods", "node": HERE},
    "Node": {"podCIDRs": ["10.244.11.0/24"]},
    "Pod": {"nodeName": HERE, "containers": []},
    "NetworkAttachmentDefinition": {"config": '{"cniVersion": "1.0.0", "name": "x", "type": "sluiceway-cni"}'},
}
ADDRESSES: dict[str, dict[str, Any]] = {
    "Node": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    "Pod": {"podIPs": [{"ip": "10.244.11.5"}], "podIP": "10.244.11.5"},
}


def item(kind: Kind, status: dict[str, Any] | None = None, **spec: Any) -> bytes:
    """An object, as the API server sends it."""
    metadata = {"name": HERE, "generation": 1, "uid": "u", **({"namespace": "a"} if kind.is_namespaced else {})}
    given = {**ADDRESSES.get(kind.object_kind, {}), **(status or {})}
    content = {"metadata": metadata, "spec": {**SPECS.get(kind.object_kind, {}), **spec}, "status": given}
    return json.dumps(content).encode()


def mirror(seen: list[Cluster]) -> tuple[Mirror, Callable[..., None]]:
    """A mirror, and what has it hear of an object."""
    made, decoder = Mirror(seen.append, ()), Decoder(HERE)

    def hear(kind: Kind, status: dict[str, Any] | None = None, **spec: Any) -> None:
        made.change([decoder.decode(kind, item(kind, status, **spec))])

    return made, hear


@pytest.mark.parametrize("kind", [one for one in KINDS if one is not ENDPOINT_SLICE], ids=lambda kind: kind.name)
def test_a_status_alone_is_handed_to_nobody(kind: Kind) -> None:
    seen: list[Cluster] = []
    made, hear = mirror(seen)
    hear(kind)
    count, before = len(seen), getattr(made.cluster, kind.table)
    assert count == 1
    hear(kind, {"conditions": [HEARTBEAT, CONDITION], "peers": ["tor"], "nodes": {"n7": {"state": "Down"}}})
    assert len(seen) == count
    assert (kind.object_kind.startswith("BGP")) is (getattr(made.cluster, kind.table) is not before)


def test_all_nodes_writes_of_their_sessions_have_no_router_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """But whoever writes them reads what is there; and what changes otherwise counts, with them or after."""
    renderings: list[Making] = []

    class Counted(Making):
        def router(self) -> Any:
            renderings.append(self)
            return super().router()

    monkeypatch.setattr(compiled, "Making", Counted)
    seen: list[Cluster] = []
    made, hear = mirror(seen)
    hear(NODE)
    hear(BGP_PEER)

    first = bgp(made.cluster, BgpSettings(), None, HERE, OFF)
    count = len(seen)
    for number in range(NODES):
        entries = {f"n{one}": {"state": "Established"} for one in range(number + 1)}
        hear(BGP_PEER, {"nodes": entries, "conditions": [CONDITION]})
        first = bgp(made.cluster, BgpSettings(), None, HERE, first)
    assert (len(seen) - count, len(renderings)) == (0, 1)
    assert len(made.cluster.bgp_peers[HERE].standing.nodes) == NODES
    hear(BGP_PEER, {"nodes": {}}, holdTime=30)
    second = bgp(made.cluster, BgpSettings(), None, HERE, first)
    assert (len(seen) - count, len(renderings)) == (1, 2)
    assert second.router is not None
    assert [one.hold_s for one in second.router.sessions] == [30]
