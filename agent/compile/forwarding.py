"""Whether some client outside keeps its address on the way to other nodes' pods, as Services or the option want it."""

from dataclasses import replace

from agent.compile.settings import Settings
from agent.compile.tunnel import NAME, SEGMENTER
from agent.model.cluster import Cluster
from agent.options.choices import Forwarding, ServiceProxy


def with_forwarding(cluster: Cluster, settings: Settings, before: Cluster | None, *, forwards: bool) -> Settings:
    """The settings, with what Services and the option say of clients outside, whom this agent serves.

    *before* is the cluster of which *forwards* was said; None: none that was whole.
    """
    if settings.is_chained or settings.service_proxy is not ServiceProxy.ON:
        forwards = False
    elif settings.forwarding is not Forwarding.SNAT:
        forwards = True
    elif not cluster.synced:  # as an agent before this one left it
        forwards = {NAME, SEGMENTER} <= {device.name for device in cluster.local.devices}
    elif before is None or cluster.services is not before.services:
        forwards = any(one.forwarding not in {None, Forwarding.SNAT} for one in cluster.services.values())
    if forwards == settings.network.forwards:
        return settings
    return replace(settings, network=replace(settings.network, forwards=forwards))
