"""Checksums that a pod leaves to its device: what we change in them must be right once somebody computes the sum.

BPF_PROG_TEST_RUN knows only whole sums, so these packets are real: from a pod's socket through its service, and on by
the kernel's routes through a device that computes sums itself to a pod that verifies them.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench.plane import BACKEND_PORT, FIRST_SERVICE, SERVICE_PORT, Plane
from bench.testbed import RECEIVER, Testbed, two_pods
from maps import libbpf
from maps.libbpf import AttachType

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

TIMEOUT_S = 20
SERVICE, BACKEND = (str(FIRST_SERVICE), SERVICE_PORT), (str(RECEIVER), BACKEND_PORT)


@pytest.fixture
def bed() -> Iterator[Testbed]:
    """Two pods; the node's programs see only the first, and the second's packets leave by a device without offload."""
    with two_pods("sums") as made:
        made.run("node", "ethtool", "-K", "pod-b", "tx", "off")
        yield made


@pytest.fixture(params=[socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def sockets(request: pytest.FixtureRequest, bed: Testbed) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client in the first pod and a server in the second, behind a service."""
    protocol = socket.IPPROTO_TCP if request.param == socket.SOCK_STREAM else socket.IPPROTO_UDP
    pod, _ = bed.pods()
    plane = Plane.load()
    plane.fill([pod], 1, (RECEIVER,), protocol)
    with ExitStack() as stack:
        stack.callback(plane.close)
        with bed.inside("node"):
            hooks = (("pod_ingress", AttachType.TCX_INGRESS), ("pod_egress", AttachType.TCX_EGRESS))
            for name, hook in hooks:
                stack.callback(os.close, libbpf.link_create(plane.programs[name], pod.ifindex, hook))
        with bed.inside("a"):
            client = stack.enter_context(socket.socket(socket.AF_INET, request.param))
        with bed.inside("b"):
            server = stack.enter_context(socket.socket(socket.AF_INET, request.param))
        server.bind(BACKEND)
        for each in (client, server):
            each.settimeout(TIMEOUT_S)
        yield client, server


@pytest.mark.parametrize("size", [1, 2, 999, 1400])
def test_a_sum_left_to_the_device_is_right_at_the_backend(
    sockets: tuple[socket.socket, socket.socket], size: int
) -> None:
    client, server = sockets
    sent = os.urandom(size)
    if server.type == socket.SOCK_STREAM:
        server.listen()
        client.connect(SERVICE)
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(TIMEOUT_S)
            client.sendall(sent)
            assert accepted.recv(size, socket.MSG_WAITALL) == sent
            accepted.sendall(sent)
            assert client.recv(size, socket.MSG_WAITALL) == sent
    else:
        client.connect(SERVICE)
        client.send(sent)
        received, peer = server.recvfrom(2048)
        assert received == sent
        server.sendto(sent, peer)
        assert client.recv(2048) == sent
