"""Why a CNI command failed, with the specification's codes.

Source: CNI specification 1.1.0, section 5, "Error".
"""

from enum import IntEnum


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
