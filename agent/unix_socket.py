"""Unix sockets by their paths: a process that is killed leaves its own behind, where it looks like one that answers."""

import socket
from pathlib import Path

ANSWERS_S = 1.0


def answers(path: Path) -> bool:
    """Whether somebody listens there."""
    return path.is_socket() and not is_left(path)


def is_left(path: Path) -> bool:
    """Whether nobody listens there any more; False where there is no such path, or it cannot be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(ANSWERS_S)
        try:
            asked.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
