"""What a runtime is answered where another plugin made the fault."""

import pytest

from agent.cni.error import CniError, Code, of_delegate, refused
from agent.pods.errors import NetworkFailed


@pytest.mark.parametrize(
    ("code", "answered"),
    [
        pytest.param(0, 11, id="it gave none, as one that was killed"),
        pytest.param(1, 7, id="the definition's version"),
        pytest.param(2, 7, id="a key of the definition"),
        pytest.param(3, 11, id="no container, of which nothing were to be undone"),
        pytest.param(4, 4, id="the interface's name is taken"),
        pytest.param(5, 11, id="it could not read"),
        pytest.param(6, 7, id="the definition's text"),
        pytest.param(7, 7, id="the definition"),
        pytest.param(8, 8, id="the namespace"),
        pytest.param(11, 11, id="later"),
        pytest.param(50, 11, id="what is for STATUS"),
        pytest.param(99, 11, id="what has no meaning"),
        pytest.param(-1, 11, id="what is none"),
        pytest.param(1 << 64, 11, id="what libcni does not read"),
        pytest.param(100, 100, id="the first of its own"),
        pytest.param(999, 999, id="what the reference plugins answer to all else"),
    ],
)
def test_a_runtime_hears_whether_another_try_is_of_use(code: int, answered: int) -> None:
    assert of_delegate(code) == answered
    told = refused(NetworkFailed("net1 of default/lan: plugin x: no", code))
    assert (int(told.code), str(told)) == (answered, "net1 of default/lan: plugin x: no")


@pytest.mark.parametrize(("code", "status"), [(7, 7), (Code.INTERNAL, 999), (256, 1), (512, 1)])
def test_a_process_that_fails_does_not_end_as_one_that_has_done_it(code: int, status: int) -> None:
    """Of its status a process has one octet."""
    assert CniError(code, "no").status == status
