"""One Pod asked of the API server, for what the watch has not brought yet."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from msgspec import Struct, field

from agent.kube.answers import refused_as
from agent.kube.client import Client, Refused
from agent.kube.retry import refusal
from agent.model.name import ObjectName

TIMEOUT_S = 5.0


class _Metadata(Struct, frozen=True):
    """``metadata`` of a Pod."""

    uid: str = ""
    annotations: dict[str, str] | None = None


class _Pod(Struct, frozen=True):
    """A Pod, as far as its metadata."""

    metadata: _Metadata = field(default_factory=_Metadata)


@dataclass(frozen=True, slots=True)
class PodAnswer:
    """A Pod as the API server has it now."""

    uid: str
    annotations: dict[str, str]


def ask_pod(client: Client, name: ObjectName) -> PodAnswer | None:
    """The Pod of this name; None when there is none.

    Raises:
        Refused, TROUBLE: there is no answer; another time there may be.
    """
    path = f"/api/v1/namespaces/{name.namespace}/pods/{name.name}"
    response = client.get(path, (), TIMEOUT_S)
    body: bytes = response.read()
    if response.status == HTTPStatus.NOT_FOUND:
        return None
    if response.status != HTTPStatus.OK:
        raise Refused(f"GET {path}", refusal(response.status, body, response.headers.get("Retry-After", "")))
    if refused := refused_as("Pod", body):
        raise Refused(f"GET {path}", refused)
    found = msgspec.json.decode(body, type=_Pod).metadata
    return PodAnswer(found.uid, found.annotations or {})
