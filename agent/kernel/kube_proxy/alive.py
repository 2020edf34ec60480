"""Whether kube-proxy still runs on the node, where its rules would come back: its process, or its answer.

The agent's pod does not see the host's processes; it is in the host's network, where kube-proxy says its mode.
"""

import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Final

from agent.kernel.kube_proxy import names

# `metricsBindAddress` by default, on nodes of either family; on every address it is also there
_METRICS: Final = ("127.0.0.1:10249", "[::1]:10249")
_WAIT_S: Final = 1.0
_WORD: Final = 64  # octets of the answer: a word
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def processes(name: str = names.PROCESS) -> Iterator[int]:
    """The processes called so in the calling thread's network namespace; others on the machine are other nodes'."""
    own = Path("/proc/thread-self/ns/net").readlink()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it ended while we looked
                if (folder / "comm").read_text().strip() == name and (folder / "ns/net").readlink() == own:
                    yield int(folder.name)


def sign() -> str:
    """How it is known that kube-proxy runs, as the end of a sentence that begins so; empty when nothing tells."""
    for process in processes():
        return f"runs as process {process}"
    for address in _METRICS:
        with suppress(OSError, HTTPException):
            with _opener.open(f"http://{address}/proxyMode", timeout=_WAIT_S) as answer:
                said = answer.read(_WORD).decode(errors="replace").strip()
            if said in names.MODES:
                return f"answers at {address}"
    return ""
