"""Objects of other networks as a cluster has them, for the tests of the importers."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.migrate.objects import Objects
from agent.migrate.report import Migration, Outcome

CALICO = "crd.projectcalico.org/v1"


def daemon(
    name: str, image: str, args: Sequence[str] = (), *, env: Mapping[str, str] | None = None, command: str = "/run"
) -> dict[str, Any]:
    """A DaemonSet of one container."""
    container = {
        "name": name,
        "image": image,
        "command": [command],
        "args": list(args),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    """A ConfigMap; a name's two underscores are a dot, one is a hyphen."""
    named = {key.replace("__", ".").replace("_", "-"): text for key, text in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": named,
    }


def node(*cidrs: str, address: str = "192.0.2.1", **annotations: str) -> dict[str, Any]:
    """A Node with pod CIDRs."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "annotations": annotations},
        "spec": {"podCIDRs": list(cidrs)},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def calico(kind: str, name: str, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A resource of Calico's."""
    return {"apiVersion": CALICO, "kind": kind, "metadata": {"name": name} | more, "spec": dict(spec)}


def found(*items: object) -> Objects:
    """One input."""
    return Objects.of(items)


def settings(migration: Migration) -> dict[str, str]:
    """The options that it gives."""
    return {name: setting.value for name, setting in migration.settings.items()}


def missing(migration: Migration) -> list[str]:
    """What it says has no counterpart: field and why."""
    return [f"{one.field}: {one.text}" for one in migration.findings if one.outcome is Outcome.MISSING]


def outcomes(migration: Migration, field: str) -> set[Outcome]:
    """What became of a field."""
    return {one.outcome for one in migration.findings if one.field.startswith(field)}
