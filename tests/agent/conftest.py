"""What tests of the agent share."""

from collections.abc import Iterator

import pytest

from agent.log import Repeats


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log as the agent writes it: lines that repeat are left out."""
    repeats = Repeats()
    caplog.handler.addFilter(repeats)
    yield caplog
    caplog.handler.removeFilter(repeats)
