"""Calico's selectors: read, judged against labels, and said as Kubernetes' label selectors where these can say it.

Pure. Source: Calico, libcalico-go/lib/selector (tokenizer and parser), "Selectors" of its reference.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMESPACE_NAME = "kubernetes.io/metadata.name"
THEIR_NAMESPACE = ("projectcalico.org/namespace", "projectcalico.org/name")  # of a pod, of a Namespace
ORCHESTRATOR = "projectcalico.org/orchestrator"
_TOKEN = re.compile(
    r"\s*(?:(?P<op>&&|\|\||==|!=|!|\(|\)|\{|\}|,)|(?P<text>\"[^\"]*\"|'[^']*')|(?P<word>[A-Za-z0-9_./-]+))"
)
_MOST = 64  # alternatives of one selector


class Unsaid(ValueError):  # noqa: N818  the name says what is wrong
    """Kubernetes' selectors cannot say it, or it is no selector; the message says why."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a label."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels are as it says."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values  # also without the label, as in Calico
            case "Exists":
                return value is not None
        return value is None

    def negated(self) -> "Comparison":
        """What holds where this does not."""
        other = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
        return Comparison(self.key, other[self.operator], self.values)


Alternative = tuple[Comparison, ...]  # all hold


def parse(text: str) -> tuple[Alternative, ...]:
    """The alternatives of which one must hold: an empty one is everything, none at all is nothing.

    Raises:
        Unsaid: it has a comparison of parts of values, or is no selector.
    """
    reader = _Reader(text)
    found = reader.any_of(negated=False)
    if reader.tokens:
        raise Unsaid(f"{reader.tokens[0]!r} is not expected in the selector {text!r}")
    return found


def holds(alternatives: Sequence[Alternative], labels: Mapping[str, str]) -> bool:
    """Whether one alternative is as these labels are."""
    return any(all(test.holds(labels) for test in one) for one in alternatives)


def label_selector(tests: Sequence[Comparison]) -> dict[str, Any]:
    """A LabelSelector of meta/v1.

    Raises:
        Unsaid: it is about a label that only Calico knows.
    """
    labels: dict[str, str] = {}
    expressions: list[dict[str, Any]] = []
    for test in tests:
        if "projectcalico.org/" in test.key or test.key.startswith(("pcns.", "pcsa.")):
            raise Unsaid(f"the label {test.key} is Calico's own")
        if test.operator == "In" and len(test.values) == 1 and labels.get(test.key, test.values[0]) == test.values[0]:
            labels[test.key] = test.values[0]
        elif test.values:
            expressions.append({"key": test.key, "operator": test.operator, "values": list(test.values)})
        elif test.operator in {"In", "NotIn"}:
            raise Unsaid(f"{test.key} is compared with no value")
        else:
            expressions.append({"key": test.key, "operator": test.operator})
    return ({"matchLabels": labels} if labels else {}) | ({"matchExpressions": expressions} if expressions else {})


def split(tests: Alternative) -> tuple[list[Comparison], list[Comparison]]:
    """What is said of the pod, and what of its Namespace by its name."""
    pods: list[Comparison] = []
    namespaces: list[Comparison] = []
    for test in tests:
        if test.key in THEIR_NAMESPACE:
            namespaces.append(Comparison(NAMESPACE_NAME, test.operator, test.values))
        elif test != Comparison(ORCHESTRATOR, "In", ("k8s",)):  # which every pod is
            pods.append(test)
    return pods, namespaces


class _Reader:
    """Reads by descent; a negation is carried to the comparisons, so that what remains is a list of alternatives."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))

    def any_of(self, *, negated: bool) -> tuple[Alternative, ...]:
        found = [self._all_of(negated=negated)]
        while self._take("||"):
            found.append(self._all_of(negated=negated))
        return _all(found) if negated else _any(found)

    def _all_of(self, *, negated: bool) -> tuple[Alternative, ...]:
        found = [self._one(negated=negated)]
        while self._take("&&"):
            found.append(self._one(negated=negated))
        return _any(found) if negated else _all(found)

    def _one(self, *, negated: bool) -> tuple[Alternative, ...]:
        if self._take("!"):
            return self._one(negated=not negated)
        if self._take("("):
            found = self.any_of(negated=negated)
            self._need(")")
            return found
        word = self._word()
        if word in {"all", "has", "global"} and self._take("("):
            return self._call(word, negated=negated)
        test = self._comparison(word)
        return ((test.negated() if negated else test,),)

    def _call(self, word: str, *, negated: bool) -> tuple[Alternative, ...]:
        if word == "global":
            raise Unsaid("global() means what has no namespace, which no pod is")
        if word == "all":
            self._need(")")
            return () if negated else ((),)
        test = Comparison(self._word(), "DoesNotExist" if negated else "Exists")
        self._need(")")
        return ((test,),)

    def _comparison(self, key: str) -> Comparison:
        if self._take("=="):
            return Comparison(key, "In", (self._text(),))
        if self._take("!="):
            return Comparison(key, "NotIn", (self._text(),))
        word = self._word()
        operator = "NotIn" if word == "not" and self._take("in") else "In" if word == "in" else ""
        if not operator:
            raise Unsaid(f"{key} is compared by {word!r}, which label selectors have not")
        self._need("{")
        values = []
        while not self._take("}"):
            values.append(self._text())
            self._take(",")
        return Comparison(key, operator, tuple(values))

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise Unsaid(f"{token!r} is missing in a selector")

    def _word(self) -> str:
        if not self.tokens or not (self.tokens[0][0].isalnum() or self.tokens[0][0] in "_./"):
            raise Unsaid("a selector has no label where one is expected")
        return self.tokens.pop(0)

    def _text(self) -> str:
        if not self.tokens or self.tokens[0][0] not in "\"'":
            raise Unsaid("a selector has no quoted value where one is expected")
        return self.tokens.pop(0)[1:-1]


def _tokens(text: str) -> Iterator[str]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise Unsaid(f"{text[at:].strip()[:20]!r} is not understood in a selector")
        yield found[found.lastgroup or 0]
        at = found.end()


def _any(parts: Sequence[tuple[Alternative, ...]]) -> tuple[Alternative, ...]:
    return _bounded(tuple(dict.fromkeys(one for part in parts for one in part)))


def _all(parts: Sequence[tuple[Alternative, ...]]) -> tuple[Alternative, ...]:
    found: tuple[Alternative, ...] = ((),)
    for part in parts:
        found = _bounded(tuple(tuple(dict.fromkeys((*left, *right))) for left in found for right in part))
    return found


def _bounded(found: tuple[Alternative, ...]) -> tuple[Alternative, ...]:
    if len(found) > _MOST:
        raise Unsaid(f"a selector has more than {_MOST} alternatives")
    return found
