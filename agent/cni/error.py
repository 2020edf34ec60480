"""Why a CNI command failed, with the specification's codes.

Source: CNI specification 1.1.0, section 5, "Error".
"""

from enum import IntEnum

from agent.pods import errors
from agent.pods.plugin import NOT_TAKEN

FIRST_OWN, LAST_OWN = 100, (1 << 31) - 1  # codes that a plugin may give a meaning of its own


class Code(IntEnum):
    """The specification's error codes; from 100 on they are ours, but for what an ADD is answered with a delegate's."""

    VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    ENVIRONMENT = 4
    IO = 5
    DECODE = 6
    CONFIG = 7
    NETNS = 8  # not in the specification's table: libcni's ErrInvalidNetNS
    TRY_LATER = 11
    UNAVAILABLE = 50  # of STATUS alone
    CHECK = 100  # an attachment is not as ADD left it
    INCOMPLETE = 101  # GC could not clean up everything
    INTERNAL = 999  # libcni's


class CniError(Exception):
    """A command failed; the runtime gets *code*, the message and *details* as JSON."""

    def __init__(self, code: int, text: str, details: str = "") -> None:
        """*code* is one of :class:`Code`, or another plugin's own."""
        super().__init__(text)
        self.code = code
        self.details = details

    @property
    def status(self) -> int:
        """With which the plugin's process ends: never 0, of which a process has but the low octet."""
        return int(self.code) if self.code & 0xFF else 1


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
    if isinstance(error, errors.NetworkFailed):
        return CniError(of_delegate(error.code), str(error))
    return CniError(code, f"{field}{error}")


def of_delegate(code: int) -> int:
    """What a runtime is answered whose pod's further interface failed by a plugin with *code*; 0: it gave none.

    Of the specification's codes one says that another try is of use, which is our answer to what we do not know, too: a
    plugin that was killed, or is not there. What of the network's configuration is wrong is the message's to say.
    """
    if code in NOT_TAKEN:
        return Code.CONFIG
    is_own = FIRST_OWN <= code <= LAST_OWN
    return code if is_own or code in {Code.ENVIRONMENT, Code.NETNS} else Code.TRY_LATER
