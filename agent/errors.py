"""What ends the agent or one of its tasks, as a tree of exceptions; the lowest layer of the agent.

A class exists where a caller acts differently. Messages say what was being done, to what, and the
way out; causes are chained. A user's mistake in a cluster object is no exception but a
``model.name.Problem``.

::

    AgentError                the agent says the text and exits with the class's exit_code
    ├── ConfigError           an option's name or value              → exit 2, nothing was touched
    ├── KernelTooOld          the feature, the kernel that has it    → exit 3
    ├── NotPermitted          the capability that is missing         → exit 3
    ├── MountMissing          bpffs, cgroup2 or writable sysctls     → exit 3
    └── BuildFailed           clang refused the datapath's sources   → shipped objects, else exit 1
"""

from typing import ClassVar


class AgentError(Exception):
    """The root of the agent's own exceptions."""

    exit_code: ClassVar[int] = 1


class ConfigError(AgentError):
    """An option has a name or a value that cannot be used."""

    exit_code: ClassVar[int] = 2


class KernelTooOld(AgentError):  # noqa: N818  the name says what is wrong, which is more than "Error" does
    """The running kernel lacks a feature that the datapath needs."""

    exit_code: ClassVar[int] = 3

    def __init__(self, feature: str, since: str, advice: str = "") -> None:
        self.feature = feature
        self.since = since
        way_out = advice or f"run Linux {since} or later"
        super().__init__(f"this kernel has no {feature} (Linux {since} and later have it); {way_out}")


class NotPermitted(AgentError):  # noqa: N818  as above
    """The kernel refused because this process lacks a capability."""

    exit_code: ClassVar[int] = 3

    def __init__(self, doing: str, capability: str) -> None:
        self.capability = capability
        super().__init__(f"{doing}: not permitted; run as root, or give the process {capability}")


class MountMissing(AgentError):  # noqa: N818  as above
    """A file system that the agent lives by is not mounted."""

    exit_code: ClassVar[int] = 3


class BuildFailed(AgentError):  # noqa: N818  as above
    """The datapath's sources did not compile."""
