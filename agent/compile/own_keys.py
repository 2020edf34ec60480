"""Keys of definitions of our kinds: one that is nearly one of ours is a mistake, which nobody would hear of.

Others are let be, as the plugins do from which the keys are. Those take a key in any case, for Go reads JSON so.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from agent.compile.network_refused import NetworkRefused
from agent.model.nic import NicKind
from agent.model.vf import VfKind

MOST = 64  # keys that are compared: a definition may have a hundred thousand
NEAR = 0.8  # of difflib's ratio: "spoofcheck" is near to "spoofchk", "mode" to nothing of a VF
EVERY = frozenset(
    {"cniVersion", "cniVersions", "name", "type", "kind", "ipam", "capabilities", "args", "dns", "runtimeConfig"}
    | {"prevResult", "disableCheck", "disableGC", "deviceID"}
)
VETHS = frozenset({"afxdp"})
VFS = frozenset({"vlan", "vlanQoS", "vlanProto", "mac", "spoofchk", "trust", "link_state", "mtu", "uid", "gid"}) | {
    "min_tx_rate",
    "max_tx_rate",
}
NICS = frozenset({"master", "mode", "mtu", "mac", "bcqueuelen", "vlanId", "linkInContainer"}) | {
    "device",
    "hwaddr",
    "kernelpath",
    "pciBusID",
}


def check_keys(config: Mapping[str, Any], kind: str) -> None:
    """None of a definition's keys is nearly one that the kind has.

    Raises:
        NetworkRefused: one is.
    """
    own = VFS if kind in frozenset(VfKind) else NICS if kind in frozenset(NicKind) else VETHS
    known = {key.lower(): key for key in EVERY | own}
    unknown = [key for key in config if key not in EVERY and key not in own]
    for key in unknown[:MOST]:
        if near := difflib.get_close_matches(key.lower(), known, 1, NEAR):
            raise NetworkRefused(key, f"is not known to the kind {kind}; write {known[near[0]]}, or leave it out")
