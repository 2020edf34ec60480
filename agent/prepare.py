"""What a start opens and looks at before it touches the kernel, so that what is wrong with it leaves the node alone."""

import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from agent.cni.socket import SOCKET
from agent.errors import ConfigError
from agent.log import logger
from agent.options.config import Options
from agent.serve.http import bound
from agent.watch.source import api_client

if TYPE_CHECKING:
    from agent.kube.client import Client


log = logger(__name__)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
RECORDS = 1 << 16  # octets that a start may write of pods and sysctls before the first new pod
PATH_MAX = 107  # octets of a unix socket's path: sun_path less the NUL


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was opened."""

    listener: socket
    client: "Client | None"  # None: objects come from a folder


def prepare(options: Options) -> Prepared:
    """Open what is outside the kernel.

    Raises:
        ConfigError: a folder cannot be written, the kubeconfig cannot be read, the address cannot be bound.
    """
    _check_written(options.state_dir, "--state-dir", RECORDS)
    _check_written(options.run_dir, "--run-dir")
    if len(str(options.run_dir / SOCKET).encode()) > PATH_MAX:
        raise ConfigError(f"--run-dir: {options.run_dir} is too long: {SOCKET} in it must fit {PATH_MAX} octets")
    if options.manifests and options.manifests.exists() and not options.manifests.is_dir():
        raise ConfigError(f"--manifests: {options.manifests} is no folder")
    client = api_client(options)
    return Prepared(bound(options.listen), client)


def _check_written(folder: Path, option: str, octets: int = 0) -> None:
    """That a file of so many octets can be made there.

    Where an agent has records already a full disk is no reason not to serve: pods go, and none comes.
    """
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as tried:
            tried.write(bytes(octets))
    except OSError as error:
        if error.errno in FULL and any(folder.iterdir()):
            log.warning("disk is full: no pod can come until there is room", option=option, folder=folder)
            return
        raise ConfigError(
            f"{option}: {folder} cannot be written: {error.strerror}; make room there, or name a folder that can"
        ) from error
