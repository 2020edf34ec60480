"""Whether a device takes VLAN tags off the frames that it receives: then XDP sees tagged frames as if they had none.

The kernel's stack finds the tag beside the frame; an XDP program has no way to it before Linux 6.8, and with most
drivers none at all. What was switched off here is remembered by a file each, and switched on again in the end.
"""

import errno
from pathlib import Path

from agent.errors import AgentError
from agent.log import logger
from agent.netlink.ethtool import ETH_FLAG_RXVLAN, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ethtool

log = logger(__name__)

_HAS_NONE = frozenset({errno.ENODEV, errno.EOPNOTSUPP})
FOLDER = "vlan-offload"  # in --state-dir: an empty file for each device that had it on, by name


class VlanOffload:
    """The devices' switches, in the calling thread's network namespace."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    def switch_off(self, device: str) -> bool:
        """Have tags stay in the frames; whether they do: some devices take them off whatever they are told."""
        flags = _flags(device)
        if not flags & ETH_FLAG_RXVLAN:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / device).touch()
        try:
            ethtool(device, ETHTOOL_SFLAGS, flags & ~ETH_FLAG_RXVLAN)
        except OSError as error:
            log.debug("VLAN offload cannot be switched off", device=device, why=error)
        if not _flags(device) & ETH_FLAG_RXVLAN:
            log.info("rx-vlan-offload switched off, as XDP needs it", device=device)
            return True
        (self._folder / device).unlink()
        return False

    def put_back(self, device: str) -> None:
        """Switch it on again where it was switched off here; a device that left, or has another's name, has none.

        What the kernel refuses is logged, and stays remembered.
        """
        path = self._folder / device
        if not path.exists():
            return
        try:
            ethtool(device, ETHTOOL_SFLAGS, _flags(device) | ETH_FLAG_RXVLAN)
        except OSError as error:
            if error.errno not in _HAS_NONE:
                log.warning("rx-vlan-offload stays off", device=device, why=error)
                return
        path.unlink()

    def put_all_back(self) -> None:
        """The same for every device, and no trace is left.

        Raises:
            AgentError: the kernel refused it for some; another call tries again.
        """
        if not self._folder.is_dir():
            return
        for path in tuple(self._folder.iterdir()):
            self.put_back(path.name)
        if stuck := sorted(path.name for path in self._folder.iterdir()):
            raise AgentError(f"rx-vlan-offload stays off on {', '.join(stuck)}")
        self._folder.rmdir()


def _flags(device: str) -> int:
    """What a device is set to; nothing where its driver does not say."""
    try:
        return ethtool(device, ETHTOOL_GFLAGS, 0)
    except OSError:
        return 0
