"""A Pod as the API has it, for the two kinds that read it: this node's own pods, and all pods as policies' peers."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct, field

from agent.model.address import Address
from agent.model.policy import ContainerPort
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader

ENDED = ("Succeeded", "Failed")  # phases; the pod's address is in the API still, and another pod may have it already
RAW, ADMIN = frozenset({"NET_RAW", "ALL"}), frozenset({"NET_ADMIN", "ALL"})  # capabilities
SIDECAR = "Always"  # restartPolicy of a container among initContainers that runs on beside the others


class _Port(Struct, rename="camel", frozen=True):
    """``ports[]`` of a container."""

    name: str | None = None
    protocol: str | None = None
    container_port: int | None = None


class _Capabilities(Struct, frozen=True):
    """``securityContext.capabilities`` of a container."""

    add: list[str] | None = None
    drop: list[str] | None = None


class _SecurityContext(Struct, frozen=True):
    """``securityContext`` of a container."""

    capabilities: _Capabilities | None = None
    privileged: bool | None = None


class _Resources(Struct, frozen=True):
    """``resources`` of a container."""

    limits: dict[str, object] | None = None


class _Container(Struct, rename="camel", frozen=True):
    """``spec.containers[]``, ``spec.initContainers[]`` and ``spec.ephemeralContainers[]`` of a Pod."""

    ports: list[_Port] | None = None
    restart_policy: str | None = None
    security_context: _SecurityContext | None = None
    resources: _Resources | None = None


class _Spec(Struct, rename="camel", frozen=True):
    """``spec`` of a Pod."""

    node_name: str = ""
    host_network: bool = False
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None  # of `kubectl debug`


class _IP(Struct, frozen=True):
    """``status.podIPs[]`` of a Pod."""

    ip: str = ""


class _Status(Struct, frozen=True):
    """``status`` of a Pod."""

    phase: str = ""
    pod_ip: str = field(name="podIP", default="")
    pod_ips: list[_IP] | None = field(name="podIPs", default=None)


class PodObject(Struct, frozen=True):
    """A Pod, v1."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: _Status = _Status()


POD_OBJECT = msgspec.json.Decoder(PodObject)


def ips(read: Reader, pod: PodObject) -> tuple[Address, ...]:
    """The pod's addresses."""
    texts = [given.ip for given in pod.status.pod_ips or ()] or [pod.status.pod_ip]
    found = [read.address(text, f"status.podIPs[{index}].ip") for index, text in enumerate(texts) if text]
    return tuple(address for address in found if address is not None)


def named_ports(read: Reader, pod: PodObject) -> tuple[ContainerPort, ...]:
    """The ports to which containers give names, in the order of the object; one that is given twice counts once."""
    found = dict.fromkeys(
        [
            *_named(read, pod.spec.containers, "spec.containers"),
            *_named(read, pod.spec.init_containers, "spec.initContainers", SIDECAR),
        ]
    )
    return read.shared.one(tuple(found))


def drops_raw(pod: PodObject) -> bool:
    """Whether no container has ``NET_RAW``, which runtimes give to those that do not drop it."""
    spec = pod.spec
    every = (spec.containers, spec.init_containers, spec.ephemeral_containers)
    return all(_drops_raw(container) for containers in every for container in containers or ())


def limits(pod: PodObject) -> Iterator[Mapping[str, object]]:
    """What each container may have of each resource."""
    for container in pod.spec.containers or ():
        yield (container.resources or _Resources()).limits or {}


def has_net_admin(pod: PodObject) -> bool:
    """Whether a container may configure its pod's devices, which it is only where that is asked for."""
    spec = pod.spec
    every = (spec.containers, spec.init_containers, spec.ephemeral_containers)
    return any(_has_net_admin(container) for containers in every for container in containers or ())


def _has_net_admin(container: _Container) -> bool:
    context = container.security_context
    if context is None:
        return False
    added = context.capabilities.add if context.capabilities is not None else ()
    return bool(context.privileged) or bool(ADMIN & {name.upper().removeprefix("CAP_") for name in added or ()})


def _drops_raw(container: _Container) -> bool:
    context = container.security_context
    if context is None or context.privileged or context.capabilities is None:
        return False
    added, dropped = (
        {name.upper() for name in names or ()} for names in (context.capabilities.add, context.capabilities.drop)
    )
    return bool(RAW & dropped) and not RAW & added


def _named(
    read: Reader, containers: list[_Container] | None, where: str, restart_policy: str | None = None
) -> Iterator[ContainerPort]:
    for index, container in enumerate(containers or ()):
        if restart_policy and container.restart_policy != restart_policy:
            continue
        for at, given in enumerate(container.ports or ()):
            if not given.name:
                continue
            protocol = read.protocol(given.protocol, f"{where}[{index}].ports[{at}].protocol")
            number = read.port(given.container_port, f"{where}[{index}].ports[{at}].containerPort")
            if protocol is not None and number is not None:
                yield read.shared.made(ContainerPort, given.name, protocol, number)
