"""Names of Kubernetes objects, and what is wrong with one."""

from dataclasses import dataclass


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
