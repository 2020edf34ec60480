"""``sluiceway-agent import``: prints another's configuration as ours, and what of it has no counterpart.

Stdout is a file for ``--config``, checked by reading it, or the same as values of the chart; stderr has a line for each
thing of the input. Nothing is changed, neither on the node nor in the cluster.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from agent.errors import ConfigError
from agent.kube.client import Client, connect
from agent.migrate import calico, flannel, kube_proxy, kube_router
from agent.migrate.objects import Objects
from agent.migrate.report import Migration, config_text, findings_text, objects_text, values_text
from agent.migrate.source import from_api, from_files
from agent.options.origins import load

NAME = "import"
WHOLE, LACKING = 0, 1  # exit codes; 2 is ConfigError's
_CORE = ("/api/v1/nodes", "/api/v1/services", "/apis/apps/v1/daemonsets", "/api/v1/namespaces/kube-system/configmaps")
_POLICY = ("/api/v1/namespaces", "/apis/networking.k8s.io/v1/networkpolicies")


@dataclass(frozen=True, slots=True)
class Importer:
    """One that can be imported."""

    migrate: Callable[[Objects], Migration]
    paths: tuple[str, ...]  # of the lists that it reads


IMPORTERS: Mapping[str, Importer] = {
    "kube-router": Importer(kube_router.migrate, _CORE),
    "flannel": Importer(flannel.migrate, (*_CORE, "/api/v1/namespaces/kube-flannel/configmaps")),
    "calico": Importer(calico.migrate, (*_CORE, *_POLICY, *calico.PATHS)),
    "kube-proxy": Importer(kube_proxy.migrate, _CORE),
}


def main(argv: Sequence[str]) -> int:
    """Print it all; 0 when everything has a counterpart, 1 when something has none.

    Raises:
        ConfigError: the arguments or the input cannot be used.
    """
    asked = _arguments(argv)
    importer = IMPORTERS[asked.which]
    if asked.files:
        found = from_files(asked.files)
    else:
        found = from_api(Client(partial(connect, asked.kubeconfig)), importer.paths)
    migration = importer.migrate(found)
    config = config_text(migration.settings)
    sys.stderr.write(findings_text(migration.findings))
    is_whole = migration.is_whole
    if migration.objects and asked.objects:
        _write(asked.objects, objects_text(migration.objects))
    elif migration.objects:
        sys.stderr.write(f"{len(migration.objects)} objects are to be applied: give --objects FILE to have them\n")
        is_whole = False
    sys.stdout.write(config if asked.format == "config" else values_text(migration.settings))
    is_whole &= _is_usable(config)
    return WHOLE if is_whole else LACKING


class _Parser(argparse.ArgumentParser):
    """argparse, with the error that the agent prints."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see sluiceway-agent import --help")


@dataclass(frozen=True, slots=True)
class _Asked:
    which: str
    files: tuple[Path, ...]
    kubeconfig: Path | None
    objects: Path | None
    format: str


def _arguments(argv: Sequence[str]) -> _Asked:
    parser = _Parser(
        prog="sluiceway-agent import",
        description="Prints another network's configuration as ours; nothing is changed.",
        epilog="Exit code 0: everything has a counterpart; 1: something has none, or objects were not written; "
        "2: the input cannot be read.",
        allow_abbrev=False,
    )
    parser.add_argument("which", choices=sorted(IMPORTERS))
    parser.add_argument(
        "--from",
        dest="files",
        action="append",
        default=[],
        type=Path,
        metavar="FILE|DIR",
        help="objects as kubectl get -o yaml prints them; may be given again (default: the API server)",
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="PATH", help="API server to read (default: the pod's)")
    parser.add_argument(
        "--objects", type=Path, metavar="FILE", help="where to write the objects that are to be applied"
    )
    parser.add_argument(
        "--format",
        choices=("config", "values"),
        default="config",
        help="what is printed: a file for --config, or values of the Helm chart (default: config)",
    )
    found = parser.parse_args(argv)
    return _Asked(found.which, tuple(found.files), found.kubeconfig, found.objects, found.format)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise ConfigError(f"--objects: cannot write {path}: {error}") from error


def _is_usable(config: str) -> bool:
    """Whether an agent would start with these options; why not is said."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config)
        file.flush()
        try:
            load(["run", "--config", file.name], {"KUBERNETES_SERVICE_HOST": "api"}, _MOUNTS)
        except ConfigError as error:
            sys.stderr.write(f"no counterpart: these options do not go together: {error}\n")
            return False
    return True


# the mounts of a node, so that options are judged alone
_MOUNTS = "1 0 0:1 / /sys/fs/bpf rw - bpf bpf rw\n2 0 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
