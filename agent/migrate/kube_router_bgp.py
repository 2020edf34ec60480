"""Whether kube-router's BGP has to do with more than its own nodes, which ours need not tell each other of pods by."""

from collections.abc import Iterable, Mapping

from agent.migrate import objects
from agent.migrate.kube_router_annotations import PREFIX
from agent.migrate.objects import source
from agent.migrate.report import Notes, Object, own_object

NAME = "kube-router"  # the BGPConfiguration's
ALL_BUT_DEFAULT = (
    {"cidr": "0.0.0.0/0", "minLength": 1, "maxLength": 32},
    {"cidr": "::/0", "minLength": 1, "maxLength": 128},
)
_PEERS = (f"{PREFIX}peers", f"{PREFIX}peer.ips")


def peers_beyond(notes: Notes, given: Mapping[str, str], nodes: Iterable[Object], where: str) -> None:
    """--router where some node has a peer that is no node, whom all but a default route is believed, as there."""
    asked = [(where, "--peer-router-ips")] if given.get("peer-router-ips") else []
    asked += [(source(node), name) for node in nodes for name in _PEERS if objects.annotations(node).get(name)]
    for whose, field in asked:
        notes.option("router", "on", whose, field)
    if not asked:
        return
    taken = {"prefixes": [dict(one) for one in ALL_BUT_DEFAULT]}
    notes.objects.append(own_object("BGPConfiguration", NAME, {"import": taken}))
    text = f"BGPConfiguration {NAME}: all is taken of them but a default route"
    notes.mapped(*asked[0], text, "narrow its spec.import to what they are to tell")
