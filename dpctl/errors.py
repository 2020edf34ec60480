"""What ends a command, with its exit code.

::

    ClickException
    ├── Absent      1  what was asked for is not there     → the message names the next command
    ├── UsageError  2  click's own: the command line is wrong
    ├── Forbidden   3  this process may not read the pins  → run as root
    └── Unanswered  4  a question that the maps here do not answer; 1 is an answer there
"""

import click


class Absent(click.ClickException):
    """What was asked for is not there, or the agent has left nothing here."""

    exit_code = 1


class Forbidden(click.ClickException):
    """The kernel or the file system keeps this process from reading."""

    exit_code = 3


class Unanswered(click.ClickException):
    """A question that has an answer for its exit code cannot be answered."""

    exit_code = 4
