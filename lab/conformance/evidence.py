"""What the nodes know when tests of a run were bad: drops and flows stay for minutes, pods and namespaces do not."""

import sys
from collections.abc import Iterable
from pathlib import Path

from lab.machine import Machine

_DPCTL = str(Path(sys.prefix) / "bin" / "dpctl")
COMMANDS: tuple[tuple[str, ...], ...] = (
    (_DPCTL, "status"),
    (_DPCTL, "drops"),
    (_DPCTL, "conntrack", "list", "--limit", "2000"),
    (_DPCTL, "service", "list"),
    (_DPCTL, "endpoint", "list"),
    ("ip", "route"),
    ("ip", "-6", "route"),
    ("nft", "list", "ruleset"),
    ("nstat", "-as"),
    ("sysctl", "net.ipv4.conf.lo", "net.ipv4.ip_local_reserved_ports"),
)


def gather(nodes: Iterable[Machine], folder: Path) -> Path:
    """Leave a file of each node in a folder; which it is. What fails leaves its own words in its place."""
    folder.mkdir(parents=True, exist_ok=True)
    for node in nodes:
        with (folder / f"{node.name}.txt").open("w") as file:
            for command in COMMANDS:
                done = node.run(*command, check=False)
                file.write(f"==== {' '.join(command)}\n{done.stdout}{done.stderr}\n")
            file.write(f"==== its agent's log\n{node.log_tail('agent')}\n")
    return folder
