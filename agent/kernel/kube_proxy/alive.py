"""Whether kube-proxy still runs on the node, where its rules would come back: its process, or its answer.

The agent's pod does not see the host's processes; it is in the host's network, where kube-proxy says its mode. So may
whoever else is there, and a pod whose host port that is: nobody is waited for longer than a second, or followed.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.kernel.kube_proxy import names

# `metricsBindAddress` by default, on nodes of either family; on every address it is also there
_PORT: Final = 10249
_METRICS: Final = {"127.0.0.1": f"127.0.0.1:{_PORT}", "::1": f"[::1]:{_PORT}"}
_WAIT_S: Final = 1.0  # for a whole answer
_MOST: Final = 4096  # octets of it: a word, behind a few headers
_REQUEST: Final = b"GET /proxyMode HTTP/1.0\r\nHost: localhost\r\n\r\n"


def processes(name: str = names.PROCESS, proc: Path = Path("/proc")) -> Iterator[int]:
    """The processes called so in the calling thread's network namespace; others on the machine are other nodes'."""
    own, wanted = (proc / "thread-self/ns/net").readlink(), name.encode()
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it ended while we looked
                # octets, which need be no text: a process is called what it likes, and cut after the fifteenth
                if (folder / "comm").read_bytes().strip() == wanted and (folder / "ns/net").readlink() == own:
                    yield int(folder.name)


def sign() -> str:
    """How it is known that kube-proxy runs, as the end of a sentence that begins so; empty when nothing tells."""
    for process in processes():
        return f"runs as process {process}"
    for host, shown in _METRICS.items():
        if _mode(host) in names.MODES:
            return f"answers at {shown}"
    return ""


def _mode(host: str) -> str:
    """The mode that is told there; empty where nobody tells one."""
    head, _, body = _answer(host).partition(b"\r\n\r\n")
    is_told = head.startswith(b"HTTP/1.") and head.split(None, 2)[1:2] == [b"200"]
    return body.decode(errors="replace").strip() if is_told else ""


def _answer(host: str) -> bytes:
    """What is answered there within the time, as far as it has come."""
    ends_at = time.monotonic() + _WAIT_S
    found = b""
    with suppress(OSError), socket.create_connection((host, _PORT), _WAIT_S) as asking:
        asking.sendall(_REQUEST)
        while len(found) < _MOST and (left_s := ends_at - time.monotonic()) > 0:
            asking.settimeout(left_s)
            piece = asking.recv(_MOST - len(found))
            if not piece:
                break
            found += piece
    return found
