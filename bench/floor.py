"""The floor: a program that hands packets from pod to pod and does nothing else (``floor.bpf.c``).

Routing is not the least that a node can do. What ours costs above the floor is what it can still be spared.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.testbed import Testbed
from maps import abi, libbpf
from maps.libbpf import AttachType
from maps.object import Object


@contextmanager
def attached(bed: Testbed, compiled: Path) -> Iterator[None]:
    """Have the floor, a compiled object, on both pods' devices."""
    one, other = bed.pods()
    with ExitStack() as stack:
        for pod, peer in ((one, other), (other, one)):
            loaded = stack.enter_context(Object.open(compiled))
            loaded.set_constants({"device": peer.ifindex, "macs": peer.mac + abi.NODE_MAC})
            loaded.load()
            with bed.inside("node"):
                link = libbpf.link_create(loaded.program_fd("floor_ingress"), pod.ifindex, AttachType.TCX_INGRESS)
            stack.callback(os.close, link)
            stack.callback(libbpf.link_detach, link)
        yield
