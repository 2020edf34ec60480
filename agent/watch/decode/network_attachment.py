"""NetworkAttachmentDefinitions: the configuration of a network beside the cluster's, read when it comes.

One that cannot be used stays known, so that a pod that names it is told why.

Source: NPWG multi-network specification 1.3, section 3.
"""

import msgspec
from msgspec import Struct

from agent.compile.network_config import check_use, plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.model.name import ObjectName
from agent.model.network import DEFINITION, RESOURCE_NAME, NetworkDefinition
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader


class _Spec(Struct, frozen=True):
    """``spec`` of a NetworkAttachmentDefinition."""

    config: str | None = None


class _Definition(Struct, frozen=True):
    """A NetworkAttachmentDefinition, k8s.cni.cncf.io/v1."""

    metadata: Metadata = Metadata()
    spec: _Spec | None = None


_DEFINITION = msgspec.json.Decoder(_Definition)


def _decode(content: Content, context: Context) -> Decoded:
    found = _DEFINITION.decode(content)
    read = Reader(NETWORK_ATTACHMENT, found.metadata, context.shared)
    config = (found.spec.config if found.spec else "") or ""
    resource = (found.metadata.annotations or {}).get(RESOURCE_NAME, "")
    uid = found.metadata.uid
    if not config.strip():
        return read.result(NetworkDefinition(read.name, resource=resource, uid=uid))
    try:
        plugins = plugin_list(config, read.name.name, may_be_given=bool(resource))
        check_use(plugins, read.name.namespace)
        return read.result(NetworkDefinition(read.name, plugins, resource, uid=uid))
    except NetworkRefused as refused:
        read.refuse(refused.field, refused.text)
        return read.result(NetworkDefinition(read.name, resource=resource, fault=str(refused), uid=uid))


def _unreadable(name: ObjectName) -> NetworkDefinition:
    return NetworkDefinition(name, fault="the object has a wrong shape")


NETWORK_ATTACHMENT = Kind(
    DEFINITION,
    "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions",
    "networks",
    _decode,
    is_optional=True,
    unreadable=_unreadable,
)
