"""What /readyz says: what is missing, by name."""

import pytest

from agent.reconcile.status import Status
from agent.serve.health import not_ready, waits_for
from agent.watch.status import WatchStatus

S = 1_000_000_000
FORBIDDEN = "HTTP 403: services is forbidden"


@pytest.mark.parametrize(
    ("missing", "watches", "expected"),
    [
        pytest.param((), (), (), id="all is there"),
        pytest.param(
            ("Service", "Node"),
            (
                WatchStatus("Service", is_listed=False, trouble=FORBIDDEN, is_denied=True),
                WatchStatus("Node", is_listed=False),
            ),
            (f"Service: not listed yet: {FORBIDDEN}", "Node: not listed yet"),
            id="each list by name, with its trouble",
        ),
        pytest.param(
            (),
            (WatchStatus("Service", is_listed=True, trouble=FORBIDDEN, is_denied=True),),
            (f"Service: {FORBIDDEN}",),
            id="rights that were taken away later",
        ),
        pytest.param(
            (),
            (WatchStatus("Service", is_listed=True, trouble="connection refused"),),
            (),
            id="a server that is away leaves a node that knows all it needs",
        ),
        pytest.param(("this node's devices",), (), ("this node's devices: not listed yet",), id="the node's own state"),
    ],
)
def test_waits_for(missing: tuple[str, ...], watches: tuple[WatchStatus, ...], expected: tuple[str, ...]) -> None:
    assert waits_for(missing, watches) == expected


@pytest.mark.parametrize(
    ("status", "awaited", "is_moved", "expected"),
    [
        pytest.param(
            Status(), ("Node: not listed yet",), True, "Node: not listed yet", id="what is awaited comes first"
        ),
        pytest.param(Status(), (), True, "the first sync is not done", id="then the first sync"),
        pytest.param(Status(error="services is full"), (), True, "services is full", id="and what is in its way"),
        pytest.param(Status(synced=True), (), False, "programs are moving onto new maps", id="then the move"),
        pytest.param(Status(synced=True, last_sync_ns=5 * S), (), True, "", id="quiet for long is ready"),
        pytest.param(
            Status(synced=True, last_sync_ns=950 * S, error="services is full"), (), True, "", id="a failure may pass"
        ),
        pytest.param(
            Status(synced=True, last_sync_ns=900 * S, error="services is full"),
            (),
            True,
            "nothing could be written for 100 s: services is full",
            id="one that lasts is told",
        ),
    ],
)
def test_not_ready(status: Status, awaited: tuple[str, ...], is_moved: bool, expected: str) -> None:  # noqa: FBT001
    assert not_ready(status, awaited, is_moved=is_moved, now_ns=1000 * S) == expected
