"""Names of Kubernetes objects, and what is wrong with one."""

from collections.abc import Iterable
from dataclasses import dataclass

MOST_TOLD = 32  # of what is wrong with one object: it has room for a hundred thousand mistakes


@dataclass(frozen=True, slots=True, order=True)
class ObjectName:
    """A namespaced object's name; *namespace* is empty for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A user's mistake in one object, or in a setting of the node: which field, what to do.

    The rest of the cluster keeps working.
    """

    kind: str
    name: ObjectName
    field: str  # JSON path, "spec.ports[0].nodePort"; of a Node also a sysctl's name
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.field}: {self.text}"


def few(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Of each object the first of its problems, in their order, and how many more there are."""
    told: list[Problem] = []
    counts: dict[tuple[str, ObjectName], int] = {}
    for one in problems:
        of = one.kind, one.name
        counts[of] = counts.get(of, 0) + 1
        if counts[of] <= MOST_TOLD:
            told.append(one)
    for (kind, name), count in counts.items():
        if count > MOST_TOLD:
            told.append(Problem(kind, name, "", f"{count - MOST_TOLD} more are wrong; set the others right first"))
    return tuple(told)
