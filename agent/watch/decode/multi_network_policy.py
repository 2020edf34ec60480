"""MultiNetworkPolicies: a NetworkPolicy's words, for the interfaces on the networks that an annotation names.

Source: k8s.cni.cncf.io/v1beta1, of the Network Plumbing Working Group.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from agent.compile.network_annotation import definition_name
from agent.compile.network_refused import NetworkRefused
from agent.model.name import ObjectName
from agent.model.policy import MULTI_NETWORK_POLICY as NAME
from agent.model.policy import POLICY_FOR, POLICY_FOR_FIELD, Networks, PodPeer, Policy
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.network_policy import PolicySpec, policy_of
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader

_EMPTY = Raw(b"{}")


class _MultiNetworkPolicy(Struct, frozen=True):
    """A MultiNetworkPolicy; its spec is read alone, so that a wrong shape leaves the networks known."""

    metadata: Metadata = Metadata()
    spec: Raw = _EMPTY


_POLICY = msgspec.json.Decoder(_MultiNetworkPolicy)
_SPEC = msgspec.json.Decoder(PolicySpec)


def _decode(content: Content, context: Context) -> Decoded:
    found = _POLICY.decode(content)
    read = Reader(MULTI_NETWORK_POLICY, found.metadata, context.shared)
    networks = _networks(read, found.metadata.annotations or {})
    spec = read.part(_SPEC, found.spec, "spec")
    if spec is None:  # nothing passes the interfaces that it may mean
        subject = PodPeer(namespace=read.name.namespace)
        return read.result(Policy(read.name, subject, ingress=(), egress=(), networks=networks))
    return read.result(policy_of(read, spec, networks))


def _networks(read: Reader, annotations: Mapping[str, str]) -> Networks:
    """The definitions that the annotation names, with commas between; one without a namespace is of the policy's."""
    text = annotations.get(POLICY_FOR, "")
    if not text.strip():
        read.refuse(POLICY_FOR_FIELD, "names no network; name NetworkAttachmentDefinitions, with commas between")
        return frozenset()
    found: set[ObjectName] = set()
    for index, word in enumerate(text.split(",")):
        try:
            found.add(definition_name(word.strip(), read.name.namespace, f"{POLICY_FOR_FIELD}[{index}]"))
        except NetworkRefused as refused:
            read.refuse(refused.field, refused.text)
    return read.shared.one(frozenset(found))


MULTI_NETWORK_POLICY = Kind(
    NAME,
    "/apis/k8s.cni.cncf.io/v1beta1/multi-networkpolicies",
    "multi_policies",
    _decode,
    is_optional=True,
)
