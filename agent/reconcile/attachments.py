"""Attachments that CNI asked for, laid over the Cluster until it tells of them itself."""

from collections.abc import Iterable
from dataclasses import replace

from agent.model.address import mapped
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from maps import abi


class Overlay:
    """The newest word on each attachment: the Cluster's, unless CNI has spoken since."""

    def __init__(self) -> None:
        self._newer: dict[AttachmentKey, Attachment | None] = {}  # None: detached
        self._come: dict[AttachmentKey, Attachment] = {}  # since the maps were last brought up to date
        self._gone: dict[AttachmentKey, Attachment] = {}

    def attach(self, attachment: Attachment) -> None:
        """Have it from now on."""
        self._newer[attachment.key] = self._come[attachment.key] = attachment

    def detach(self, attachment: Attachment) -> None:
        """Have it no more."""
        self._newer[attachment.key] = None
        self._come.pop(attachment.key, None)
        self._gone[attachment.key] = attachment

    def forget(self, cluster: Cluster) -> None:
        """Drop what a new Cluster says too."""
        theirs = {attachment.key: attachment for attachment in cluster.local.attachments}
        self._newer = {k: newer for k, newer in self._newer.items() if theirs.get(k) != newer}

    def over(self, cluster: Cluster) -> Cluster:
        """The Cluster with the newest attachments; the identical one when it has them already."""
        if not self._newer:
            return cluster
        have = {attachment.key: attachment for attachment in cluster.local.attachments}
        have.update((k, newer) for k, newer in self._newer.items() if newer is not None)
        newest = tuple(a for k, a in have.items() if self._newer.get(k, a) is not None)
        return replace(cluster, local=replace(cluster.local, attachments=newest))

    def coming(self) -> tuple[Attachment, ...]:
        """Attachments that the maps do not know yet."""
        return tuple(self._come.values())

    def leaving(self) -> frozenset[bytes]:
        """Keys of endpoints, pod_netns and limits that detached attachments had."""
        return frozenset(key for attachment in self._gone.values() for key in _keys(attachment))

    def settled(self) -> None:
        """The maps know who came, and hold nothing of those who left."""
        self._come.clear()
        self._gone.clear()


def devices(attachments: Iterable[Attachment]) -> dict[int, str]:
    """The node's ends: ifindex to name."""
    return {attachment.link.ifindex: attachment.link.host_device for attachment in attachments}


def _keys(attachment: Attachment) -> Iterable[bytes]:
    yield abi.LIMITS.key.pack(attachment.link.ifindex)
    yield abi.POD_NETNS.key.pack(attachment.netns_cookie)
    yield from (mapped(address).packed for address in attachment.addresses)
