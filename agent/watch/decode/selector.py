"""Label selectors as objects have them, for the kinds of policies.

What is not understood of one could have narrowed it: a selector with an unknown field is as bad as one that the API
server would not take.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from agent.model.policy import EVERYTHING, Operator, Requirement, Selector
from agent.watch.decode.reader import Reader

MOST = 256  # requirements of one selector: each is asked of each pod that the others mean
_WITH_VALUES = frozenset({Operator.IN, Operator.NOT_IN})


class _Requirement(Struct, frozen=True, forbid_unknown_fields=True):
    """``matchExpressions[]`` of a LabelSelector."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class LabelSelector(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """A LabelSelector, meta/v1."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[_Requirement] | None = None


_SELECTOR = msgspec.json.Decoder(LabelSelector)


def optional_selector(read: Reader, given: Raw, where: str) -> Selector | None:
    """The meaning of a selector that means everything where it is left out; None as :func:`selector` has it."""
    if bytes(given) == b"null":
        return EVERYTHING
    found = read.part(_SELECTOR, given, where)
    return selector(read, found, where) if found is not None else None


def selector(read: Reader, given: LabelSelector, where: str) -> Selector | None:
    """Its meaning, equal selectors the same value; None, and a problem, for one that cannot be used."""
    count = len(given.match_labels or ()) + len(given.match_expressions or ())
    if count > MOST:
        read.refuse(where, f"has {count} requirements; give {MOST} at most")
        return None
    labels = [Requirement(key, Operator.IN, frozenset({value})) for key, value in (given.match_labels or {}).items()]
    expressions = list(_expressions(read, given.match_expressions or [], f"{where}.matchExpressions"))
    if None in expressions:
        return None
    found = {*labels, *(one for one in expressions if one is not None)}
    ordered = sorted(found, key=lambda one: (one.key, one.operator, sorted(one.values)))
    return read.shared.one(Selector(tuple(ordered)))


def _expressions(read: Reader, given: list[_Requirement], where: str) -> Iterator[Requirement | None]:
    for index, one in enumerate(given):
        yield _expression(read, one, f"{where}[{index}]")


def _expression(read: Reader, given: _Requirement, where: str) -> Requirement | None:
    if given.operator not in set(Operator):
        read.refuse(f"{where}.operator", f"{given.operator!r} is none of {', '.join(Operator)}")
        return None
    operator = Operator(given.operator)
    if not given.key:
        read.refuse(f"{where}.key", "is missing; give a label's name")
    elif operator in _WITH_VALUES and not given.values:
        read.refuse(f"{where}.values", f"has none; give {operator} one value at least")
    elif operator not in _WITH_VALUES and given.values:
        read.refuse(f"{where}.values", f"has no meaning with {operator}; leave it out, or say {Operator.IN}")
    else:
        return Requirement(given.key, operator, frozenset(given.values or ()))
    return None
