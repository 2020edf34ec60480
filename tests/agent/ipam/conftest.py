"""What the allocator's tests share."""

import pytest

from tests.agent.ipam.lb_world import FIRST, SECOND, World, pool


@pytest.fixture
def world() -> World:
    world = World()
    world.api.store("loadbalancerpools", pool("pool", f"{FIRST}-{SECOND}", "2001:db8::1-2001:db8::9"))
    return world
