"""kube-router's annotations on Nodes and Services, its label and its class of load balancers."""

from collections.abc import Iterator, Mapping

from agent.migrate import kube_router_annotations as annotated
from agent.migrate import objects
from agent.migrate.objects import source
from agent.migrate.report import Notes, Object
from agent.migrate.table import follow, index

CLASSES = frozenset({"kube-router", "default"})  # of load balancers
SECRET = frozenset({f"{annotated.PREFIX}peers", f"{annotated.PREFIX}peer.passwords"})  # values that are not shown


def node_annotations(notes: Notes, node: Object) -> None:
    """What a Node says."""
    rows = index(annotated.NODE)
    for name, value in _theirs(objects.annotations(node)):
        field = f"{name}: {value}" if name not in SECRET else name
        row = rows.get(name)
        if row is None:
            _unknown(notes, source(node), field)
        elif row.option or not name.startswith(f"{annotated.PREFIX}pod-cidr"):
            follow(notes, row, value, source(node), field)
        elif {part.strip() for part in value.split(",")} <= set(objects.pod_cidrs(node)):
            notes.needless(source(node), field, "Node.spec.podCIDRs says the same")
        else:
            ranges = ", ".join(objects.pod_cidrs(node)) or "of which there is none"
            text = f"pods get addresses of Node.spec.podCIDRs, {ranges}"
            notes.missing(source(node), field, text, "make the Node anew with this range, and its pods")


def asn_of_mesh(notes: Notes, node: Object) -> None:
    """The AS number of a Node that kube-router in full mesh does not look at."""
    name = f"{annotated.PREFIX}node.asn"
    if value := objects.annotations(node).get(name):
        text = "counts here with --nodes-full-mesh on too, where kube-router does not look at it"
        notes.missing(source(node), f"{name}: {value}", text, "take it away, or have routers know the node by it")


def service_annotations(notes: Notes, service: Object) -> None:
    """What a Service says."""
    rows = index(annotated.SERVICE)
    for name, value in _theirs(objects.annotations(service)):
        row, field = rows.get(name), f"{name}: {value}"
        if row is None:
            _unknown(notes, source(service), field)
        elif not _is_read(name, value):
            text = "is understood by neither; kube-router took it for its default"
            notes.missing(source(service), field, text, "write what is meant, or take it away")
        else:
            follow(notes, row, value, source(service), field)
    for row in annotated.LABELS:
        label = objects.labels(service).get(row.name)
        if label == "kube-router":
            follow(notes, row, label, source(service), f"{row.name}: {label}")
        elif label is not None:
            notes.needless(
                source(service), f"{row.name}: {label}", "kube-router passed this Service over, and so does the agent"
            )
    given = objects.spec(service).get("loadBalancerClass")
    if given in CLASSES:
        text = "is no class of ours, and the field cannot be changed"
        advice = "make the Service anew without it, or with sluiceway.io/lb"
        notes.missing(source(service), f"spec.loadBalancerClass: {given}", text, advice)


def _is_read(name: str, value: str) -> bool:
    """Whether our reader of the annotation takes the value."""
    if name.endswith("service.dsr"):
        return value == "tunnel"
    if name.endswith("service.local"):
        return value in {"true", "false"}
    if name.endswith("service.scheduler"):
        return value in {"rr", "lc", "dh", "sh", "mh"}
    if name.endswith("service.schedflags"):
        return {word.strip() for word in value.split(",")} <= {
            "flag-1",
            "flag-2",
            "flag-3",
            "sh-port",
            "mh-port",
            "sh-fallback",
            "mh-fallback",
        }
    return True


def _theirs(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((name, str(value)) for name, value in sorted(annotations.items()) if name.startswith(annotated.PREFIX))


def _unknown(notes: Notes, where: str, field: str) -> None:
    notes.missing(where, field, "is no annotation of kube-router v2.11 that is known here", "see its release's notes")
