"""--strict-external-ip-validation on a running agent: an external IP outside the operator's ranges leads nowhere."""

from collections.abc import Iterator, Sequence

import pytest

from lab import agents
from lab.use import SILENT_S
from tests.lab.conftest import BACKENDS, Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

STRICT = "--strict-external-ip-validation=on"


def restart(echo: Echo, flags: Sequence[str] = ()) -> None:
    """The agent of the node of the pod that asks."""
    agents.stop(echo.asking.machine)
    agents.start_again(echo.asking.machine, flags=flags)
    agents.wait(echo.asking.machine)


@pytest.fixture
def echo_again(echo_socket: Echo) -> Iterator[Echo]:
    """The cluster, its agent as before in the end."""
    yield echo_socket
    restart(echo_socket)


def test_an_external_ip_is_served_in_a_range_alone(echo_again: Echo) -> None:
    asking = echo_again.asking
    four, six = echo_again.services["echo"]["spec"]["externalIPs"]
    restart(echo_again, [STRICT, f"--service-external-ip-range={four}/32", f"--loadbalancer-ip-range={six}/128"])
    assert asking.ask("tcp", four, 80, 5).names <= BACKENDS
    assert asking.ask("tcp", six, 80, patience_s=SILENT_S).errors
    assert asking.ask("tcp", echo_again.ips("echo")[1], 80, 5).names <= BACKENDS
    restart(echo_again, [STRICT, f"--service-external-ip-range={four}/32,{six}/64"])
    seen = asking.ask("tcp", six, 80, 5)
    assert (seen.names <= BACKENDS, seen.errors) == (True, {})
