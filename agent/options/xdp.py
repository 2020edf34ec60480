"""Options of the programs in the devices' drivers."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.options import values
from agent.options.choices import Xdp
from agent.options.values import about


@dataclass(frozen=True)
class XdpOptions:
    """What XDP does."""

    xdp: Xdp = field(
        default=Xdp.AUTO,
        metadata=about(
            values.one_of(tuple(Xdp), Xdp),
            "balance what comes from outside for other nodes in the uplinks' drivers: where they can; on every uplink "
            "(native); or else in the kernel's generic mode",
        ),
    )
    xdp_deny_cidrs_file: Path | None = field(
        default=None,
        metadata=about(
            values.path, "ranges from which XDP lets nothing in, one a line, # begins a comment; read when it changes"
        ),
    )
