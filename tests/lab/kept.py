"""Keeps TCP connections to a server of the lab, a line on its way on each, until its input ends. Run as a script.

kept.py ADDRESS PORT COUNT    says "ready" when all are open; at the end one more line goes there and back on each, and
                              what became of them is printed: [{"port": our own, "name": of the server, "end": "alive"
                              or how it ended, "silent_s": at most without an answer}]
"""

import json
import socket
import sys
import threading
import time

EVERY_S = 0.05
PATIENCE_S = 15.0


def main() -> None:
    """Be the client."""
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    is_over = threading.Event()
    made = [socket.create_connection((address, port), timeout=PATIENCE_S) for _ in range(count)]
    found: list[dict[str, object]] = [{"port": one.getsockname()[1]} for one in made]
    greeted = threading.Barrier(count + 1)
    keepers = [
        threading.Thread(target=keep, args=(one, of, greeted, is_over)) for one, of in zip(made, found, strict=True)
    ]
    for keeper in keepers:
        keeper.start()
    greeted.wait(PATIENCE_S)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    is_over.set()
    for keeper in keepers:
        keeper.join()
    sys.stdout.write(json.dumps(found))


def keep(one: socket.socket, found: dict[str, object], greeted: threading.Barrier, is_over: threading.Event) -> None:
    """Talk on one connection; what comes of it is in *found*."""
    answers = one.makefile("rb")
    found["name"] = answers.readline().decode().strip()
    greeted.wait(PATIENCE_S)
    silent_s, found["end"] = 0.0, "alive"
    try:
        is_last = False
        while not is_last:
            is_last = is_over.is_set()
            began = time.monotonic()
            one.sendall(b"hello\n")
            said = answers.readline()
            silent_s = max(silent_s, time.monotonic() - began)
            if said.decode().strip() != f"{found['name']} hello":
                raise ConnectionAbortedError(said.decode())
            time.sleep(EVERY_S)
    except OSError as error:
        found["end"] = type(error).__name__
    found["silent_s"] = round(silent_s, 3)


if __name__ == "__main__":
    main()
