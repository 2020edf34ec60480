"""Whose addresses count where: on the cluster's network, and on each network apart, as what follows for its peers.

An address means something within its network alone. A pod's status says where it is on the cluster's; what it has on a
further network its network-status tells, which is believed for that network and no other. Of this node's pods the
attachments say it, which are true.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import cast

from agent.compile.changes import same
from agent.compile.peer import FurtherPod, PeerInputs, PeerName
from agent.compile.subject import is_pod_of
from agent.model.attachment import Attachment
from agent.model.name import ObjectName
from agent.model.network import AFXDP, VETH, NetworkDefinition
from agent.model.node import Pod
from agent.model.policy import Networks, PeerPod, Policy

Pods = Mapping[ObjectName, Pod]
PeerPods = Mapping[ObjectName, PeerPod]


def networks_apart(attachments: Iterable[Attachment]) -> tuple[ObjectName, ...]:
    """The networks of their own that this node's pods are on, in order."""
    return tuple(sorted({one.network for one in attachments if one.network is not None and one.is_apart}))


def within_cluster(policies: Iterable[Policy], definitions: Mapping[ObjectName, NetworkDefinition]) -> Networks:
    """Of the networks that policies are for, those whose addresses are the cluster's."""
    named: Networks = frozenset().union(*(policy.networks for policy in policies if policy.networks is not None))
    return frozenset(name for name in named if name in definitions and _is_within(definitions[name]))


def _is_within(one: NetworkDefinition) -> bool:
    return one.plugins is not None and one.plugins.own_kind in {VETH, AFXDP}


def cluster_inputs(now: PeerInputs, here: Pods, peers: PeerPods, within: Networks, old: PeerInputs) -> PeerInputs:
    """The inputs of the cluster's network, with *within*, whose addresses are its own; *old* has what stays as it is.

    VFs of this node's pods that are on it are as pods of other nodes: the node's devices do not meet them.
    """
    pods = dict(cast("Mapping[PeerName, Pod]", here))
    for one in now.attachments.values():
        if one.pod is not None and one.pod in here and one.network is not None and not one.is_in_pod:
            pods[FurtherPod(one.pod, one.network)] = here[one.pod]
    vfs = (one for one in now.attachments.values() if one.is_in_pod and not one.is_apart)
    found: dict[PeerName, PeerPod] = dict(_attached(vfs, here, None))
    for network in sorted(within):
        found |= dict(_told(network, peers))
    every = cast("Mapping[PeerName, PeerPod]", peers)
    if found:
        every = same(old.peers, {**every, **_kept(found, old.peers)})
    return replace(now, pods=same(old.pods, pods), peers=every)


def apart_inputs(now: PeerInputs, network: ObjectName, here: Pods, peers: PeerPods, old: PeerInputs) -> PeerInputs:
    """The inputs of a network of its own: no node has an address there, and nobody else is known."""
    on = (one for one in now.attachments.values() if one.is_apart and one.network == network)
    found: dict[PeerName, PeerPod] = {**dict(_told(network, peers)), **dict(_attached(on, here, network))}
    return PeerInputs(
        peers=same(old.peers, _kept(found, old.peers)), namespaces=now.namespaces, knows_all=now.knows_all
    )


def _attached(
    those: Iterable[Attachment], here: Pods, network: ObjectName | None
) -> Iterator[tuple[FurtherPod, PeerPod]]:
    """This node's pods at these attachments, several of one pod together."""
    found: dict[ObjectName, PeerPod] = {}
    for one in those:
        pod = here.get(one.pod) if one.pod is not None else None
        if pod is not None and is_pod_of(pod, one):
            known = found.get(pod.name)
            addresses = (*(known.ips if known is not None else ()), *one.addresses)
            found[pod.name] = PeerPod(pod.name, pod.labels, addresses, pod.ports)
    return ((FurtherPod(name, network), pod) for name, pod in found.items())


def _told(network: ObjectName, peers: PeerPods) -> Iterator[tuple[FurtherPod, PeerPod]]:
    """Pods with what they say that they have on a further network, as those whose interface is no attachment do."""
    for name, pod in peers.items():
        addresses = tuple(ip for on, ips in pod.further if on == network for ip in ips) if pod.further else ()
        if addresses:
            yield FurtherPod(name, network), replace(pod, ips=addresses, further=())


def _kept(found: Mapping[PeerName, PeerPod], old: Mapping[PeerName, PeerPod]) -> dict[PeerName, PeerPod]:
    """What was made anew, of what is as before the identical values."""
    return {name: same(old[name], pod) if name in old else pod for name, pod in found.items()}
