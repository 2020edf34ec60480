"""IPBlocks: which node has which part of an IPPool. Agents write them; one that cannot be read is nobody's."""

import msgspec
from msgspec import Struct

from agent.model.ip_pool import IP_BLOCK, IpBlock
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader


class _Spec(Struct, frozen=True):
    """``spec`` of an IPBlock."""

    cidr: str = ""
    pool: str = ""
    node: str = ""
    network: str = ""


class _Block(Struct, frozen=True):
    """An IPBlock."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()


_BLOCK = msgspec.json.Decoder(_Block)


def _decode(content: Content, context: Context) -> Decoded:
    found = _BLOCK.decode(content)
    read = Reader(IP_BLOCK_KIND, found.metadata, context.shared)
    cidr = read.network(found.spec.cidr, "spec.cidr")
    if cidr is None:
        return read.result(None)
    spec, about, one = found.spec, found.metadata, context.shared.one
    return read.result(
        IpBlock(
            name=read.name.name,
            cidr=cidr,
            pool=one(spec.pool),
            node=one(spec.node),
            network=one(spec.network),
            uid=about.uid,
            revision=about.resource_version,
        )
    )


IP_BLOCK_KIND = Kind(
    IP_BLOCK,
    "/apis/sluiceway.io/v1alpha1/ipblocks",
    "ip_blocks",
    _decode,
    is_namespaced=False,
    is_optional=True,
    is_exact=True,
)
