"""Calico's BGP resources where one changes what becomes of another."""

from typing import Any

from tests.agent.migrate.inputs import calico, settings
from tests.agent.migrate.test_calico_bgp import made, specs


def test_passwords_of_several_secrets_stay_apart_whatever_their_keys_are_called() -> None:
    def peer(number: int, secret: str, key: str) -> Any:
        ref = {"secretKeyRef": {"name": secret, "key": key}}
        return calico("BGPPeer", f"p{number}", {"peerIP": f"192.0.2.{number}", "asNumber": 64600, "password": ref})

    mesh = calico("BGPConfiguration", "default", {"nodeMeshPassword": {"secretKeyRef": {"name": "mesh", "key": "key"}}})
    given = made(mesh, peer(1, "a", "key"), peer(2, "b", "key"), peer(3, "b", "key"), peer(4, "b", "alone"))
    keys = [specs(given)[f"BGPPeer p{number}"]["passwordKey"] for number in range(1, 5)]
    assert keys == ["a.key", "b.key", "b.key", "alone"]
    assert settings(given)["bgp-node-password-key"] == "mesh.key"


def test_a_keepalive_time_is_never_longer_than_the_hold_time_allows() -> None:
    given = made(calico("BGPPeer", "far", {"peerIP": "192.0.2.1", "asNumber": 64600, "keepaliveTime": "5m"}))
    assert specs(given)["BGPPeer far"]["keepaliveTime"] == 120


def test_without_the_mesh_nodes_stay_peers_of_reflectors() -> None:
    off = calico("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False, "listenPort": 1179})
    by_selector = calico("BGPPeer", "reflectors", {"nodeSelector": "all()", "peerSelector": "has(rr)"})
    assert specs(made(off)) == {"BGPConfiguration default": {"nodeMesh": False, "listenPort": 1179}}
    assert specs(made(off, by_selector)) == {"BGPConfiguration default": {"listenPort": 1179}}
