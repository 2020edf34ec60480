"""Asks the device plugin which devices a pod has; the agent itself speaks no gRPC, and needs no kubelet's file.

The plugin answers at ``devices.sock`` in the folder of the agent's sockets: one line of JSON asks, one answers, and the
connection ends. It asks the kubelet each time, which has decided before CNI's ADD comes.
"""

import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.json_text import NOT_JSON
from agent.model.device import Allocated, DeviceState
from agent.model.name import Problem

SOCKET = "devices.sock"
TIMEOUT_S = 8.0  # the kubelet's own, and some
MOST_OCTETS = 16 << 20
READ = 1 << 16


class Unanswered(Exception):  # noqa: N818  what is wrong is in the sentence
    """No device plugin runs here, or the kubelet does not answer it."""


@dataclass(frozen=True, slots=True)
class Question:
    """Of one pod, or, where it has no name, of all and of the plugin's own state."""

    namespace: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked; *error* is why *given* is not known."""

    given: tuple[Allocated, ...] = ()
    states: tuple[DeviceState, ...] = ()  # asked of no pod
    problems: tuple[Problem, ...] = ()  # as above
    error: str = ""


def devices_of(run_dir: Path, namespace: str, pod: str) -> tuple[Allocated, ...]:
    """The devices of a pod's containers, in the kubelet's order.

    Raises:
        Unanswered: nobody knows.
    """
    answer = ask(run_dir, Question(namespace, pod))
    if answer.error:
        raise Unanswered(answer.error)
    return answer.given


def ask(run_dir: Path, question: Question) -> Answer:
    """The plugin's answer.

    Raises:
        Unanswered: no plugin answers.
        PermissionError: this user may not ask.
    """
    path = run_dir / SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(question) + b"\n")
            return msgspec.json.decode(line(connection, MOST_OCTETS), type=Answer)
    except PermissionError:
        raise
    except (OSError, *NOT_JSON) as error:
        raise Unanswered(f"no device plugin answers at {path}: {error}; does sluiceway-devices run?") from error


def line(connection: socket.socket, most: int) -> bytes:
    """The octets up to the line's end.

    Raises:
        OSError: it is longer than *most*, does not come in time, or ends early.
    """
    content = b""
    while not content.endswith(b"\n"):
        read = connection.recv(READ)
        if not read:
            raise ConnectionResetError("the line ends early")
        content += read
        if len(content) > most:
            raise OSError(f"the line has more than {most} octets")
    return content
