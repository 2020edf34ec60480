"""What tests of servers share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.ports import held


@pytest.fixture
def free_port() -> Iterator[Callable[[], int]]:
    """Ports that nobody else is given until the test has ended."""
    with ExitStack() as ports:
        yield lambda: ports.enter_context(held())
