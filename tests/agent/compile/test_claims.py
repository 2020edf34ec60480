"""Who has a key follows from who asks for it now, and how, whatever changed before and with what."""

from collections.abc import Mapping
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from agent.compile.claims import Claimants, Keys, claims

OWNERS, KEYS = "abcd", (b"1", b"2", b"3")
ASKING = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2))  # by key, the owner's rank there
CHANGES = st.lists(st.dictionaries(st.sampled_from(OWNERS), ASKING, min_size=1), max_size=6)


@given(CHANGES)
def test_the_first_by_rank_has_it_and_who_is_concerned_is_told(steps: list[dict[str, dict[bytes, int]]]) -> None:
    asking: dict[str, Mapping[bytes, int]] = {}
    before: Claimants[str] = {}
    for step in steps:
        changes: dict[str, tuple[Keys, Keys]] = {name: (asking.get(name, {}), keys) for name, keys in step.items()}
        asking |= step
        found = claims(before, changes, partial(_rank, asking))
        wanted = {key: tuple(sorted(_who(asking, key), key=partial(_rank, asking, key))) for key in KEYS}
        assert found.claimants == {key: names for key, names in wanted.items() if names}
        moved = {key for key in KEYS if before.get(key, ()) != wanted[key]}
        concerned = {name for name, keys in asking.items() if name not in step and not moved.isdisjoint(keys)}
        assert set(found.contended) == concerned
        before = found.claimants


def _rank(asking: Mapping[str, Mapping[bytes, int]], key: bytes, name: str) -> tuple[int, str]:
    return asking[name][key], name


def _who(asking: Mapping[str, Mapping[bytes, int]], key: bytes) -> list[str]:
    return [name for name, keys in asking.items() if key in keys]
