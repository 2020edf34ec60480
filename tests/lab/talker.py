"""Talks on one socket with a probe's server until its standard input ends. Run as a script.

talker.py udp ADDRESS PORT    prints as whom the server sees us, when it changes; {"silent_s": most without an answer}
talker.py serve PORT ADDRESS...  answers datagrams as a probe does, each under the address that it was sent to
talker.py tcp ADDRESS PORT    prints "ready"; {"end": "alive", or how the connection ended}
"""

import json
import select
import socket
import sys
import time
from typing import NoReturn

EVERY_S = 0.02
ENDED_S = 20.0


def main() -> None:
    """Be the one or the other."""
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3:])
    kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    found = datagrams(address, port) if kind == "udp" else connection(address, port)
    sys.stdout.write(json.dumps(found) + "\n")


def serve(port: int, addresses: list[str]) -> NoReturn:
    """Serve until somebody ends the process."""
    made = [socket.socket(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_DGRAM) for a in addresses]
    for one, address in zip(made, addresses, strict=True):
        one.bind((address, port))
    while True:
        for one in select.select(made, [], [])[0]:
            data, client = one.recvfrom(1 << 16)
            one.sendto(client[0].encode() + b"\n" + data, client)


def say(word: str) -> None:
    """Say it at once: whom the server sees, or that it answers."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def is_over() -> bool:
    """Whether the standard input has ended."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def datagrams(address: str, port: int) -> dict[str, object]:
    """A datagram now and then."""
    seen = ""
    silent_s, answered = 0.0, time.monotonic()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((address, port))
        asking.settimeout(EVERY_S)
        while not is_over():
            try:
                asking.send(b"hello")
                client = asking.recv(1 << 16).partition(b"\n")[0].decode()
            except (TimeoutError, ConnectionRefusedError):
                continue
            silent_s, answered = max(silent_s, time.monotonic() - answered), time.monotonic()
            if client != seen:
                say(client)
            seen = client
            time.sleep(EVERY_S)
    return {"silent_s": max(silent_s, time.monotonic() - answered)}


def connection(address: str, port: int) -> dict[str, object]:
    """A word there and back now and then; once the input has ended, until the connection has too, but not for long."""
    with socket.create_connection((address, port), timeout=ENDED_S) as asking:
        file = asking.makefile("rb")
        file.readline()
        say("ready")
        try:
            while not is_over():
                asking.sendall(b"hello\n")
                file.readline()
                time.sleep(EVERY_S)
        except OSError as error:
            return {"end": type(error).__name__}
    return {"end": "alive"}


if __name__ == "__main__":
    main()
