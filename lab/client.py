"""A client for pods and machines of the lab, which tells what happened as JSON. Run as a script.

client.py ask tcp|udp ADDRESS PORT COUNT PATIENCE_S FIRST    each time by a new socket, over UDP from the port FIRST
                                                             and the next ones: who answered, or the error
client.py load ADDRESS PORT KEPT                             new connections and KEPT old ones, until SIGTERM
"""

import json
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

TIMEOUT_S = 15.0  # a lost answer counts as a fault, one that is late on a busy machine does not
DATAGRAM = 1000  # bytes: much more than headers, and short enough to be quoted whole in a refusal
LINEAR = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")  # since Linux 6.5
# SYNs are sent again after 1 and 3 s, or with LINEAR after 1, 2 and 3 s; segments after 0.2 (a probe), 0.4, 0.8, 1.7
# and 3.3 s: an answer that takes so long is none
SYNS, SEGMENTS = 3 if LINEAR.exists() and int(LINEAR.read_text()) else 2, 5
LATE = "when asked again"  # a refusal that did not come at once
MAX_ERRORS = 5  # then it is known, and each may have waited long
IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
TOTAL_RETRANS = slice(100, 104)  # of struct tcp_info, linux/tcp.h


def ask(kind: str, address: str, port: int, patience_s: float = TIMEOUT_S, own: int = 0) -> str:
    """The name of who answers within *patience_s*; over UDP asked from the port *own*, if nobody has it.

    Raises:
        OSError: nobody does.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as asking:
        asking.settimeout(patience_s)
        if kind == "tcp":
            _connect(asking, address, port)
            return _in_time(asking, _line(asking), SYNS)
        # refusals reach a socket that is not connected only when it asks for them
        level, option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if ":" in address else (socket.IPPROTO_IP, IP_RECVERR)
        asking.setsockopt(level, option, 1)
        with suppress(OSError):  # somebody has it: the kernel draws another
            asking.bind(("", own))
        asking.sendto(b"x" * DATAGRAM, (address, port))
        answer, source = asking.recvfrom(65536)
        if source[:2] != (address, port):
            raise ConnectionAbortedError(f"answered by {source[0]} {source[1]}")
        return answer.decode()


def ask_often(kind: str, address: str, port: int, ports: range, patience_s: float) -> dict[str, object]:
    """Who answered how often, which errors there were, and how long the slowest took; once from each port."""
    answers: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    slowest = 0.0
    for own in ports:
        if errors.total() >= MAX_ERRORS:
            break
        began = time.monotonic()
        try:
            answers[ask(kind, address, port, patience_s, own)] += 1
        except OSError as error:
            errors[_named(error)] += 1
        slowest = max(slowest, time.monotonic() - began)
    return {"answers": answers, "errors": errors, "slowest_s": round(slowest, 3)}


def _connect(asking: socket.socket, address: str, port: int) -> None:
    """Connect; a refusal says whether it came at once, or only when the SYN was sent again."""
    try:
        asking.connect((address, port))
    except ConnectionRefusedError as error:
        if not _sent_again(asking):
            raise
        raise ConnectionRefusedError(error.errno, f"{error.strerror}, {LATE}") from error


def _in_time(connection: socket.socket, said: str, most: int, before: int = 0) -> str:
    """What was said, if not only when *most* segments had been sent again: the kernel's time is no busy process's.

    Raises:
        TimeoutError: only then.
    """
    again = _sent_again(connection) - before
    if again >= most:
        raise TimeoutError(f"answered when {again} segments had been sent again")
    return said


def _sent_again(connection: socket.socket) -> int:
    """How many segments the connection has sent again."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS.stop)
    return int.from_bytes(info[TOTAL_RETRANS], sys.byteorder)


def load(address: str, port: int, count: int) -> dict[str, object]:
    """Open connections one after the other and talk on *count* kept ones in turn, until SIGTERM."""
    is_running = True

    def stop(_signal: int, _frame: object) -> None:
        nonlocal is_running
        is_running = False

    signal.signal(signal.SIGTERM, stop)
    opened = exchanged = 0
    errors: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    kept: list[socket.socket | None] = [None] * count
    turn = 0
    while is_running:
        try:
            answers[ask("tcp", address, port)] += 1
            opened += 1
        except OSError as error:
            errors[f"new: {_named(error)}"] += 1
        if not count:
            continue
        turn = (turn + 1) % count
        try:
            kept[turn] = _talk(kept[turn] or _connected(address, port))
            exchanged += 1
        except OSError as error:
            errors[f"kept: {_named(error)}"] += 1
            kept[turn] = None
    return {"opened": opened, "exchanged": exchanged, "answers": answers, "errors": errors}


def _connected(address: str, port: int) -> socket.socket:
    made = socket.create_connection((address, port), timeout=TIMEOUT_S)
    _in_time(made, _line(made), SYNS)
    return made


def _talk(connection: socket.socket) -> socket.socket:
    before = _sent_again(connection)
    connection.sendall(b"hello\n")
    if not _in_time(connection, _line(connection), SEGMENTS, before).endswith(" hello"):
        raise ConnectionAbortedError("answered with something else")
    return connection


def _line(connection: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        more = connection.recv(4096)
        if not more:
            raise ConnectionResetError("closed by the server")
        text += more
    return text.decode().rstrip("\n")


def _named(error: OSError) -> str:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ask", kind, address, port, count, patience_s, first]:
            ports = range(int(first), int(first) + int(count))
            print(json.dumps(ask_often(kind, address, int(port), ports, float(patience_s))), flush=True)
        case ["load", address, port, count]:
            print(json.dumps(load(address, int(port), int(count))), flush=True)
        case _:
            sys.exit(__doc__)
