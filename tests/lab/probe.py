"""What talks in the tests of modes: a server that tells clients how it sees them, and a client. Run as a script.

probe.py serve PORT          TCP: the client's address as a line, then all that comes goes back; UDP: both in one
probe.py ask KIND BYTES ADDRESS PORT...    prints how the servers see us, if all came back unharmed; KIND is tcp,
                                           udp, both (a datagram of OVER_MTU bytes), or segments (datagrams that the
                                           kernel is given in one piece)
probe.py watch DEVICE ADDRESS              prints by what the next packet from ADDRESS is encapsulated
"""

import socket
import sys
import threading
from array import array

TIMEOUT_S = 20.0
LEARNT_S = 0.5
OVER_MTU = 4000
SEGMENT = 1000
UDP_SEGMENT = 103  # linux/udp.h
ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800  # who asks for all sees packets before the kernel's programs do
WRITE = 1 << 16
BACKLOG = 64
ROOM = 8 << 20  # bytes of datagrams: who waits for the processor loses none
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


def main() -> None:
    """Be one of the two."""
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    elif sys.argv[1] == "watch":
        sys.stdout.write(watch(sys.argv[2], socket.inet_aton(sys.argv[3])))
    else:
        kind, size, *targets = sys.argv[2:]
        talk = {"tcp": talk_tcp, "udp": talk_udp, "both": talk_both, "segments": talk_segments}[kind]
        data = array("I", range(int(size) // 4 + 1)).tobytes()[: int(size)]  # each word says where it belongs
        seen = {talk(address, int(port), data) for address, port in zip(targets[::2], targets[1::2], strict=True)}
        sys.stdout.write(" ".join(sorted(seen)))


def serve(port: int) -> None:
    """Serve until somebody ends the process."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        datagrams.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        datagrams.bind((anywhere, port))
        threading.Thread(target=answer, args=(datagrams,), daemon=True).start()
    while True:
        connection, client = listener.accept()
        threading.Thread(target=echo, args=(connection, client[0]), daemon=True).start()


def echo(connection: socket.socket, client: str) -> None:
    """Say who it is, and send everything back."""
    with connection:
        connection.sendall(client.removeprefix("::ffff:").encode() + b"\n")
        while data := connection.recv(WRITE):
            connection.sendall(data)


def answer(datagrams: socket.socket) -> None:
    """Send every datagram back, behind the client's address."""
    while True:
        data, client = datagrams.recvfrom(1 << 16)
        datagrams.sendto(client[0].encode() + b"\n" + data, client)


def talk_tcp(address: str, port: int, data: bytes) -> str:
    """Write 64 KiB at a time while what comes back is read."""
    with socket.create_connection((address, port), timeout=TIMEOUT_S) as connection:
        writer = threading.Thread(target=write, args=(connection, data))
        writer.start()
        client, _, back = connection.makefile("rb").read().partition(b"\n")
        writer.join()
    return checked(client, back, data)


def write(connection: socket.socket, data: bytes) -> None:
    """All of it, and the end."""
    for at in range(0, len(data), WRITE):
        connection.sendall(data[at : at + WRITE])
    connection.shutdown(socket.SHUT_WR)


def talk_udp(address: str, port: int, data: bytes) -> str:
    """One datagram, and the answer; a second one where the first may have been lost to an MTU not yet known."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(LEARNT_S)
        asking.sendto(data, (address, port))
        try:
            answered, server = asking.recvfrom(1 << 16)
        except TimeoutError:
            asking.settimeout(TIMEOUT_S)
            asking.sendto(data, (address, port))
            answered, server = asking.recvfrom(1 << 16)
    if server[:2] != (address, port):
        raise ConnectionAbortedError(f"answered by {server[0]} {server[1]}")
    client, _, back = answered.partition(b"\n")
    return checked(client, back, data)


def talk_both(address: str, port: int, data: bytes) -> str:
    """The one and the other; the server sees us alike."""
    seen = {talk_tcp(address, port, data), talk_udp(address, port, data[:OVER_MTU])}
    return " ".join(sorted(seen))


def talk_segments(address: str, port: int, data: bytes) -> str:
    """Datagrams of SEGMENT bytes by one call, and as many answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(TIMEOUT_S)
        asking.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
        asking.sendto(data, (address, port))
        answers = [asking.recvfrom(1 << 16)[0].partition(b"\n") for _ in range(0, len(data), SEGMENT)]
    whole = {back for _, _, back in answers}
    parts = [data[at : at + SEGMENT] for at in range(0, len(data), SEGMENT)]
    return checked(answers[0][0], b"".join(part for part in parts if part in whole), data)


def watch(device: str, address: bytes) -> str:
    """Look at what comes in, over IPv4, before the kernel's programs do."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as tap:
        tap.bind((device, ETH_P_ALL))
        tap.settimeout(TIMEOUT_S)
        while True:
            packet, origin = tap.recvfrom(1 << 16)
            if origin[1] == ETH_P_IP and packet[12:16] == address:
                return named(packet[9], packet[20:])


def named(protocol: int, payload: bytes) -> str:
    """What an IPv4 packet carries: its protocol, and of UDP the port and what the datagram begins with."""
    if protocol != socket.IPPROTO_UDP:
        return str(protocol)
    return f"{protocol} {int.from_bytes(payload[2:4], 'big')} {payload[8:12].hex()}"


def checked(client: bytes, back: bytes, data: bytes) -> str:
    """How the server sees us.

    Raises:
        ConnectionAbortedError: what came back is not what was sent.
    """
    if back != data:
        raise ConnectionAbortedError(f"{len(data)} bytes went, {len(back)} or others came back")
    return client.decode()


if __name__ == "__main__":
    main()
