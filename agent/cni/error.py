"""Why a CNI command failed, with the specification's codes.

Source: CNI specification 1.1.0, section 5, "Error".
"""

from enum import IntEnum

from agent.pods import errors


class Code(IntEnum):
    """The specification's error codes; from 100 on they are ours."""

    VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    ENVIRONMENT = 4
    IO = 5
    DECODE = 6
    CONFIG = 7
    NETNS = 8  # not in the specification's table: libcni's ErrInvalidNetNS
    TRY_LATER = 11
    UNAVAILABLE = 50
    CHECK = 100  # an attachment is not as ADD left it
    INCOMPLETE = 101  # GC could not clean up everything
    INTERNAL = 999  # libcni's


class CniError(Exception):
    """A command failed; the runtime gets *code*, the message and *details* as JSON."""

    def __init__(self, code: Code, text: str, details: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


# what pods are refused for, and the variable or field that CNI has for it; addresses name theirs themselves
_REFUSALS: dict[type[errors.PodRefused], tuple[Code, str]] = {
    errors.NotSynced: (Code.TRY_LATER, ""),
    errors.AlreadyAttached: (Code.ENVIRONMENT, "CNI_CONTAINERID: "),
    errors.NoFreeAddress: (Code.TRY_LATER, ""),
    errors.AddressUnusable: (Code.CONFIG, ""),
    errors.HostPortTaken: (Code.TRY_LATER, "runtimeConfig.portMappings: "),
    errors.HostPortUnusable: (Code.CONFIG, "runtimeConfig.portMappings: "),
    errors.MacTaken: (Code.TRY_LATER, "runtimeConfig.mac: "),
    errors.NetnsUnusable: (Code.NETNS, "CNI_NETNS: "),
    errors.InterfaceTaken: (Code.ENVIRONMENT, "CNI_IFNAME: "),
    errors.NetworkFailed: (Code.TRY_LATER, ""),
    errors.InterfaceUnusable: (Code.CONFIG, "prevResult: "),
    errors.DeviceInUse: (Code.TRY_LATER, "deviceID: "),
    errors.DeviceUnusable: (Code.CONFIG, ""),
}


def refused(error: errors.PodRefused) -> CniError:
    """The answer to a request that cannot be served as it is."""
    code, field = _REFUSALS[type(error)]
    return CniError(code, f"{field}{error}")
