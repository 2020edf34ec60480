"""The sysctls of the node and of pods' devices, as the agent's start and ADD have set them, for as long as it runs.

Others set them at any time: who loads all files of sysctl.d anew those of the node, and udev, which has systemd-sysctl
do so for each device that comes, a pod's, maybe when ADD has set its own. Those of uplinks and of the tunnel are kept
with these (``parts``).
"""

from collections.abc import Iterator

from agent.compile.desired import Desired
from agent.kernel.net.sysctl import Sysctls

Wanted = frozenset[str]  # names of the node's ends of pods' veths


class SysctlsPart:
    """What somebody has set otherwise is set again."""

    name, is_before_maps, is_vital, is_watched = "sysctls", False, False, True

    def __init__(self, sysctls: Sysctls) -> None:
        self._sysctls = sysctls
        self._seen: set[str] = set()  # devices that have theirs

    def wanted(self, desired: Desired) -> Wanted:
        """The devices of pods that are ours."""
        every = (one for one in desired.attachments.values() if not (one.link.is_chained or one.is_in_pod))
        return frozenset(one.link.host_device for one in every)

    def apply(self, wanted: Wanted) -> Iterator[None]:
        """Set what is not as it was set; of pods' devices those that have not been seen to have theirs."""
        self._sysctls.node()
        yield
        self._seen &= wanted
        for device in sorted(wanted - self._seen):
            self._sysctls.pod_again(device)
            self._seen.add(device)
            yield

    def resync(self) -> None:
        """Look at each anew."""
        self._seen.clear()
