"""The device that a service proxy by IPVS has Services' addresses on, and what becomes of more of them than fit.

They are the node's own as long as they are there, so that a process of the node may ask under one of them
(docs/decisions/0038-own-service-addresses.md). But they are not what a node is for: they leave room for its pods, or
are left out, all of them.
"""

from collections.abc import Sequence
from dataclasses import replace

from agent.compile.settings import Settings
from agent.model.local import Device
from agent.model.name import ObjectName, Problem

KUBE_PROXYS, KUBE_ROUTERS = "kube-ipvs0", "kube-dummy-if"
_PODS_PART = 4  # one part in so many of the room is pods'


def with_room(devices: tuple[Device, ...], settings: Settings) -> tuple[Device, ...]:
    """The *devices*, such a one without addresses where these are too many."""
    crowded = _crowded(devices, settings)
    if not crowded:
        return devices
    return tuple(replace(one, addresses=()) if one in crowded else one for one in devices)


def room_problems(devices: Sequence[Device], settings: Settings) -> tuple[Problem, ...]:
    """What the node's processes cannot do because of that."""
    node, room = ObjectName("", settings.node_name), settings.endpoint_room
    return tuple(
        Problem(
            "Node",
            node,
            f"device {one.name}",
            f"its {len(one.addresses)} addresses of Services are not taken for the node's own, as endpoints has"
            f" {room} entries, pods' with them: what a process of the node sends to a Service under one of them is not"
            f" served; {_way_out(one.name)}, or raise --max-endpoints",
        )
        for one in _crowded(devices, settings)
    )


def _crowded(devices: Sequence[Device], settings: Settings) -> tuple[Device, ...]:
    """Those with more addresses than there is room for; nearly always none."""
    found = tuple(one for one in devices if one.name in {KUBE_PROXYS, KUBE_ROUTERS})
    room = settings.endpoint_room - settings.endpoint_room // _PODS_PART
    count = sum(len(one.addresses) for one in devices) if found and settings.endpoint_room else 0
    return found if count > room else ()


def _way_out(name: str) -> str:
    if name == KUBE_ROUTERS:
        return f"when kube-router serves none any more, take it away by ip link del {name}"
    return "when kube-proxy has ended, take it away by --replace-kube-proxy on"
