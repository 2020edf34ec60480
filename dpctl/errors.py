"""What ends a command, with its exit code.

::

    ClickException
    ├── Absent      1  what was asked for is not there     → the message names the next command
    ├── UsageError  2  click's own: the command line is wrong
    └── Forbidden   3  this process may not read the pins  → run as root
"""

import click


class Absent(click.ClickException):
    """What was asked for is not there, or the agent has left nothing here."""

    exit_code = 1


class Forbidden(click.ClickException):
    """The kernel or the file system keeps this process from reading."""

    exit_code = 3
