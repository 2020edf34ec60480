"""What goes wrong in the lab.

LabError
├── CommandFailedError   a command of a machine or a pod returned non-zero
└── LabExistsError       a lab of that name is up
"""


class LabError(Exception):
    """The message says what was being done, to what, and the way out."""


class CommandFailedError(LabError):
    """A command returned non-zero; the message ends with its output."""


class LabExistsError(LabError):
    """A lab of that name is there already; it is somebody's."""
