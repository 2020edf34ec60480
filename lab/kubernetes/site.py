"""Where the cluster stands: the lab's machines and their addresses, and the addresses that Kubernetes gives out.

Everything in this package starts processes on these machines and knows nothing of how they are made.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Protocol

POD_CIDRS = (IPv4Network("10.244.0.0/16"), IPv6Network("fd00:10:244::/56"))
SERVICE_CIDRS = (IPv4Network("10.96.0.0/16"), IPv6Network("fd00:10:96::/112"))
API_SERVICE = SERVICE_CIDRS[0][1]  # the API server gives its own service the first address
DNS_SERVICE = SERVICE_CIDRS[0][10]
API_PORT = 6443


class Host(Protocol):
    """A machine of the lab, as far as Kubernetes cares."""

    @property
    def name(self) -> str:
        """The name, which is also the Node's."""

    @property
    def home(self) -> Path:
        """A folder that the machine sees too, for what its processes read and log."""

    @property
    def addresses(self) -> tuple[IPv4Address, IPv6Address]:
        """Its addresses on the underlay."""

    @property
    def netns(self) -> Path:
        """Its network namespace."""

    def run(self, *argv: str, check: bool = True, stdin: str | Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine and return what it printed; a Path as *stdin* is read from."""

    def daemon(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process of the machine that logs to ``home/NAME.log``."""

    def stop(self, name: str) -> None:
        """End what `daemon` started."""


@dataclass(frozen=True, slots=True)
class Site:
    """The machines of one cluster; *outside* is a host that is no node, and *state* a folder of the host's."""

    state: Path
    control_plane: Host
    outside: Host
    nodes: tuple[Host, ...]

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://{self.control_plane.addresses[0]}:{API_PORT}"


def cidr_list(cidrs: tuple[IPv4Network, IPv6Network]) -> str:
    """Both families, as Kubernetes' flags want them."""
    return ",".join(map(str, cidrs))
