"""What a Service asks for: of its endpoints as many as its backend sets have, on the node that has most of them."""

from typing import Any

import pytest

from agent.compile.desired import desired
from agent.compile.service_need import need
from agent.compile.settings import Settings
from agent.model.address import parse_address
from agent.model.service import Service
from tests.agent.compile.objects import FRESH, HERE, cluster, endpoint, piece, service
from tests.agent.compile.test_service_share import OF_BACKENDS, places, some, taken

State = dict[str, Any]
READY: State = {}
ENDING: State = {"ready": False, "terminating": True}
STARTING: State = {"ready": False, "serving": False}
GONE: State = {"ready": False, "serving": False, "terminating": True}
LOCAL: State = {"external_local": True, "external_ips": (parse_address("203.0.113.7"),)}


@pytest.mark.parametrize(
    ("ends", "fields", "backends"),
    [
        pytest.param([READY, READY, STARTING, GONE], {}, 2, id="what is not ready takes no place"),
        pytest.param([READY, ENDING, ENDING], {}, 1, id="nor what ends, where another is ready"),
        pytest.param([ENDING, ENDING, GONE, STARTING], {}, 2, id="without one those stand in that end and serve"),
        pytest.param([STARTING, GONE], {}, 0, id="nothing serves"),
        pytest.param([READY, STARTING, ENDING], {"publish_not_ready": True}, 3, id="all do where the Service says so"),
        pytest.param([READY, ENDING, STARTING], LOCAL, 2, id="of a node's own the same"),
        pytest.param([ENDING, STARTING], {"internal_local": True}, 1, id="of its own alone"),
    ],
)
def test_of_endpoints_those_are_counted_that_maps_have(
    ends: list[State], fields: dict[str, Any], backends: int
) -> None:
    one = service(**fields)
    own = piece("web", *(endpoint(f"10.1.0.{at}", HERE, **so) for at, so in enumerate(ends, 1)))
    found = desired(cluster(one, own), Settings(HERE), FRESH)
    assert need(one, (own,), None, (30000, 32767), told=None).backends == backends == taken(found, "backends")


def test_a_ready_endpoint_elsewhere_leaves_a_node_what_ends_on_it() -> None:
    """Where traffic policy is Local; of all nodes' endpoints it stands for those."""
    one, ends = service(**LOCAL), [endpoint("10.1.0.1"), *(endpoint(f"10.1.0.{at}", HERE, **ENDING) for at in (2, 3))]
    own = piece("web", *ends)
    found = desired(cluster(one, own), Settings(HERE), FRESH)
    assert need(one, (own,), None, (30000, 32767), told=None).backends == 1 + 2 == taken(found, "backends")


def test_endpoints_that_start_take_nobodys_place() -> None:
    quiet, loud = some("a", 3, 2, ends=2), [one for one in some("loud", 20) if isinstance(one, Service)]
    starting = [piece(str(one.name), *(endpoint(f"10.9.0.{at}", **STARTING) for at in range(1, 9))) for one in loud]
    found = desired(cluster(*quiet, *loud, *starting), OF_BACKENDS, FRESH)
    assert places(found) == {"a": 3, "loud": 20}
    begun = [piece(str(one.name), *(endpoint(f"10.9.0.{at}") for at in range(1, 9))) for one in loud]
    assert places(desired(cluster(*quiet, *loud, *begun), OF_BACKENDS, found)) == {"a": 3, "loud": 2}
