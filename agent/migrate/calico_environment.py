"""calico-node's environment, by which its manifest says what is in no resource; and other containers' are looked at."""

from agent.migrate import objects
from agent.migrate.api import write_api_server
from agent.migrate.calico_felix_table import FELIX
from agent.migrate.flags import environment
from agent.migrate.kube_router_flags import API
from agent.migrate.objects import Objects, source
from agent.migrate.report import Notes, Object
from agent.migrate.table import MAPPED, MISSING, NEEDLESS, Row, follow

POOLS = "the IPPools say it"
ADDRESS = "nodes are reached at the InternalIPs of their Node objects"
OWN = "Calico's own"
SHOWN = 80  # characters of a value
ROWS = (
    *(
        Row(name, NEEDLESS, OWN)
        for name in (
            "DATASTORE_TYPE",
            "WAIT_FOR_DATASTORE",
            "NODENAME",
            "CLUSTER_TYPE",
            "CALICO_DISABLE_FILE_LOGGING",
            "CALICO_K8S_NODE_REF",
            "FELIX_TYPHAK8SSERVICENAME",
            "FELIX_TYPHAK8SNAMESPACE",
            "FELIX_TYPHAADDR",
            "FELIX_TYPHACAFILE",
            "FELIX_TYPHACERTFILE",
            "FELIX_TYPHAKEYFILE",
            "FELIX_TYPHACN",
            "FELIX_TYPHAURISAN",
            "NAMESPACE",
            "CALICO_EARLY_NETWORKING",
            "GOGC",
            "GODEBUG",
            "CALICO_MANAGE_CNI",
            "KUBERNETES_NODE_NAME",
            "CNI_CONF_NAME",
            "CNI_NETWORK_CONFIG",
            "SLEEP",
            "CNI_MTU",
            "SKIP_CNI_BINARIES",
            "UPDATE_CNI_BINARIES",
        )
    ),
    *(
        Row(name, NEEDLESS, POOLS)
        for name in (
            "CALICO_IPV4POOL_CIDR",
            "CALICO_IPV6POOL_CIDR",
            "CALICO_IPV4POOL_IPIP",
            "CALICO_IPV4POOL_VXLAN",
            "CALICO_IPV6POOL_VXLAN",
            "CALICO_IPV4POOL_NAT_OUTGOING",
            "CALICO_IPV6POOL_NAT_OUTGOING",
            "CALICO_IPV4POOL_BLOCK_SIZE",
            "CALICO_IPV6POOL_BLOCK_SIZE",
            "CALICO_IPV4POOL_NODE_SELECTOR",
            "CALICO_IPV6POOL_NODE_SELECTOR",
            "NO_DEFAULT_POOLS",
            "USE_POD_CIDR",
        )
    ),
    Row("IP", MISSING, ADDRESS, "give the kubelet --node-ip", ("autodetect", "", "none")),
    Row("IP6", MISSING, ADDRESS, "give the kubelet --node-ip", ("autodetect", "", "none")),
    Row(
        "IP_AUTODETECTION_METHOD",
        MISSING,
        ADDRESS,
        "give the kubelet --node-ip",
        ("", "first-found", "kubernetes-internal-ip"),
    ),
    Row(
        "IP6_AUTODETECTION_METHOD",
        MISSING,
        ADDRESS,
        "give the kubelet --node-ip",
        ("", "first-found", "kubernetes-internal-ip"),
    ),
    Row(
        "CALICO_NETWORKING_BACKEND",
        MISSING,
        "routes to other nodes' pods are the agent's",
        "none means another plugin's network: --network chained",
        ("bird", "vxlan", "", "from {'configMapKeyRef': {'name': 'calico-config', 'key': 'calico_backend'}}"),
    ),
    *(
        Row(name, NEEDLESS, "pods' interfaces follow the uplinks, by `mtu`")
        for name in (
            "FELIX_IPINIPMTU",
            "FELIX_VXLANMTU",
            "FELIX_WIREGUARDMTU",
            "FELIX_VXLANMTUV6",
            "FELIX_WIREGUARDMTUV6",
        )
    ),
    Row(
        "FELIX_DEFAULTENDPOINTTOHOSTACTION",
        MISSING,
        "a pod reaches its own node, as in Kubernetes",
        "keep such rules in the host's own firewall",
        ("ACCEPT", "RETURN"),
    ),
    Row("FELIX_IPV6SUPPORT", NEEDLESS, "each family of which the Node has a pod CIDR"),
    Row("FELIX_HEALTHENABLED", NEEDLESS, "`/livez` and `/readyz` of `listen` are there always"),
    Row("KUBERNETES_SERVICE_HOST", MAPPED, API),
    Row("KUBERNETES_SERVICE_PORT", MAPPED, API),
)


_ROWS = {row.name: row for row in ROWS}
_FELIX = {row.name.lower(): row for row in FELIX}
TOGETHER = frozenset(
    {"vxlanPort", "vxlanVNI", "prometheusMetricsEnabled", "prometheusMetricsPort", "prometheusMetricsHost"}
)


def container_environment(notes: Notes, daemon: Object, found: Objects) -> dict[str, str]:
    """What the containers of a calico-node DaemonSet were told; nothing of another's.

    Returns what they say of Felix' fields that are looked at together, by these; the environment goes before resources.
    """
    felix: dict[str, str] = {}
    if objects.name(daemon) not in {"calico-node", "canal"}:
        return felix
    for container in objects.containers(daemon):
        if _is_flannels(container):
            continue
        variables, where = environment(container), f"{source(daemon)}: {container.get('name')}"
        write_api_server(notes, found, variables, source(daemon))
        for name, text in variables.items():
            field = _felix_field(name)
            if field is not None and field.name in TOGETHER:
                felix[field.name] = text
            else:
                _variable(notes, name, text, where)
    return felix


def _is_flannels(container: Object) -> bool:
    return container.get("name") == "kube-flannel"


def _felix_field(name: str) -> Row | None:
    """The field of FelixConfiguration that a variable is, FELIX_ and its name in capitals."""
    return _FELIX.get(name.removeprefix("FELIX_").lower()) if name.startswith("FELIX_") else None


def _variable(notes: Notes, name: str, text: str, where: str) -> None:
    field = f"{name}={text if len(text) < SHOWN else '...'}"
    if name.endswith("*"):
        notes.missing(where, field, "variables of a ConfigMap are not read here", "see what it says")
    elif (row := _ROWS.get(name) or _felix_field(name)) is not None:
        notes.settings.pop(row.option, None)
        follow(notes, row, text, where, field)
    else:
        advice = "a FelixConfiguration's field says it too" if name.startswith("FELIX_") else ""
        notes.missing(where, field, "is no variable of Calico's that is known here", advice)
