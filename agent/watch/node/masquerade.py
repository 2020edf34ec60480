"""The file of ranges that pods reach under their own addresses, in the format of ip-masq-agent's ConfigMap.

Read whenever the node itself is looked at, and at least as often as the file says (``resyncInterval``).

Source: github.com/kubernetes-sigs/ip-masq-agent, README, "Config file".
"""

import re
from ipaddress import ip_network
from pathlib import Path

import msgspec

from agent.log import logger
from agent.model.address import Network, parse_network
from agent.options.yaml_text import read_yaml

log = logger(__name__)

RESYNC_S = 60.0
LINK_LOCAL4: Network = ip_network("169.254.0.0/16")
LINK_LOCAL6: Network = ip_network("fe80::/10")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")  # as Go writes them
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class MasqueradeFile:
    """The ranges of the file as it was last readable; none without a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._ranges: tuple[Network, ...] = ()
        self.resync_s = RESYNC_S

    def read(self) -> tuple[Network, ...]:
        """The ranges; a file that cannot be used changes nothing, and is logged."""
        if self._path is None:
            return ()
        try:
            content = self._path.read_bytes() if self._path.exists() else b""  # as a ConfigMap that is not there yet
            self._ranges, self.resync_s = parse(content)
        except (OSError, ValueError, msgspec.ValidationError) as error:
            log.warning("ranges not masqueraded stay as they were", file=self._path, why=" ".join(str(error).split()))
        return self._ranges


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    """The file's fields under their own names; link-local ranges are masqueraded when it asks for that."""

    ranges: list[str] | None = msgspec.field(name="nonMasqueradeCIDRs", default=None)
    link_local4: bool = msgspec.field(name="masqLinkLocal", default=False)
    link_local6: bool = msgspec.field(name="masqLinkLocalIPv6", default=False)
    resync: str = msgspec.field(name="resyncInterval", default="60s")


def parse(text: str | bytes) -> tuple[tuple[Network, ...], float]:
    """The ranges never masqueraded, and the seconds after which to look again.

    Raises:
        ValueError, msgspec.ValidationError: a field cannot be used; which one, and why.
    """
    content = read_yaml(text)
    if content is None:
        return (), RESYNC_S
    config = msgspec.convert(content, _Config)
    found = [_range(f"nonMasqueradeCIDRs[{i}]", item) for i, item in enumerate(config.ranges or ())]
    kept = ((LINK_LOCAL4, config.link_local4), (LINK_LOCAL6, config.link_local6))
    found += [network for network, is_masqueraded in kept if not is_masqueraded]
    return tuple(dict.fromkeys(found)), _seconds(config.resync)


def _range(field: str, item: str) -> Network:
    try:
        return parse_network(item)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def _seconds(duration: str) -> float:
    """A duration as Go writes it: ``60s``, ``1m30s``."""
    parts = _DURATION.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"resyncInterval: {duration!r} is no duration; write 60s or 1m30s")
    return max(sum(float(number) * _UNITS[unit] for number, unit in parts), 1.0)
