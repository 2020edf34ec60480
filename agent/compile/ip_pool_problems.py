"""What is wrong with what Pods, Namespaces and definitions say of pools, before a pod starts; pure."""

from collections.abc import Iterator

import msgspec

from agent.compile.ip_pool import ANNOTATION, named_choice
from agent.compile.network_refused import NetworkRefused
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.network import DEFINITION, OUR_PLUGIN, NetworkDefinition


def asked_problems(cluster: Cluster, node_name: str) -> Iterator[Problem]:
    """Pools that are named and not there, or not for who names them."""
    for name, pod in cluster.pods.items():
        if pod.ip_pools.strip() and not pod.host_network:
            try:
                named_choice(cluster, node_name, name.namespace, pod.ip_pools, ANNOTATION)
            except NetworkRefused as refused:
                yield Problem("Pod", name, refused.field, refused.text)
    for space in cluster.namespaces.values():
        for text in _missing(cluster, space.ip_pools):
            yield Problem("Namespace", ObjectName("", space.name), ANNOTATION, text)
    for definition in cluster.networks.values():
        yield from _of_definition(cluster, definition)


def _of_definition(cluster: Cluster, definition: NetworkDefinition) -> Iterator[Problem]:
    plugins = definition.plugins.plugins if definition.plugins else ()
    for index, plugin in enumerate(plugins):
        ipam = msgspec.json.decode(plugin.config).get("ipam") or {}
        if ipam.get("type") != OUR_PLUGIN:
            continue
        where = f"spec.config.plugins[{index}].ipam.pool" if len(plugins) > 1 else "spec.config.ipam.pool"
        for text in _missing(cluster, ipam.get("pool", "")):
            yield Problem(DEFINITION, definition.name, where, text)


def _missing(cluster: Cluster, names: str) -> Iterator[str]:
    for name in filter(None, map(str.strip, names.split(","))):
        if name not in cluster.ip_pools:
            yield f"there is no IPPool {name}"
