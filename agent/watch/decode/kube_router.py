"""kube-router's annotations that stand for a field of the Service, understood as what its code does with them."""

from collections.abc import Mapping

from agent.model.bgp import PREFIX
from agent.watch.decode.reader import Reader

LOCAL = f"{PREFIX}service.local"
SKIPS_BALANCER = f"{PREFIX}service.skiplbips"
_SHOWN = 64  # characters of a wrong word


def is_local(read: Reader, annotations: Mapping[str, str]) -> bool:
    """Whether externalTrafficPolicy is Local by annotation; what the field says otherwise stands.

    Its documents speak of both policies.

    Source: kube-router v2.11, pkg/controllers/proxy/network_services_controller.go.
    """
    given = annotations.get(LOCAL, "false")
    if given not in {"true", "false"}:
        read.refuse(
            f"metadata.annotations['{LOCAL}']", f"{given[:_SHOWN]!r} is neither true nor false; the field holds"
        )
    return given == "true"


def skips_balancer(annotations: Mapping[str, str]) -> bool:
    """Whether the addresses of the status are nobody's here, whatever the annotation's value."""
    return SKIPS_BALANCER in annotations
