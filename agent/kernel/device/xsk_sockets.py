"""The unix sockets at which applications in pods are given the map of their AF_XDP sockets (``xsk_protocol``).

Each interface has one, at ``<run dir>/afxdp/<place>/afxdp.sock``, in a folder that its pod mounts. Whoever else reaches
it gets nothing: the kernel gives the socket of a connection the network namespace of the one who connected, and that is
the pod's or not, whatever process it was and wherever that is now.

Each has a thread of its own, for which nobody waits, since a pod can keep it: what comes beside a message is the
thread's to close, and the kernel closes as it what was not taken. If that is the last of a TCP connection, the thread
waits as long as the pod's SO_LINGER says.
"""

import errno
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import Lock

from agent.kernel.device.interface import AfXdpInterface
from agent.kernel.device.pod_folders import PodFolders
from agent.kernel.device.xsk_protocol import LONGEST, Answer, BusyPoll, Gives, answer, brings_socket, refused
from agent.log import logger
from agent.netlink.cookie import netns_cookie
from agent.threads import Threads
from maps.errors import MapsError

log = logger(__name__)

SOCKET = "afxdp.sock"
CONNECTIONS = 16  # of an interface; of more, the oldest is ended
RETRY_S = 0.1  # after an accept that failed, as when descriptors ran out
# linux/socket.h
AF_XDP = 44
SO_BUSY_POLL, SO_PREFER_BUSY_POLL, SO_BUSY_POLL_BUDGET = 46, 69, 70
_NO_LINGER = struct.pack("=ii", 0, 0)  # struct linger
_DESCRIPTORS = 1  # beside a message that brings a socket
MapOf = Callable[[str], AbstractContextManager[int]]  # of the sockets, by the node's end


class XskSockets:
    """The sockets of one node, in *folder*; *map_of* opens the map of an interface."""

    def __init__(self, folder: Path, map_of: MapOf, threads: Threads) -> None:
        self._folder, self._map_of, self._threads = folder, map_of, threads
        self._folders = PodFolders(folder)
        self._lock = Lock()  # guards it
        self._by_device: dict[str, _Listener] = {}

    def stop(self) -> None:
        """Answer nobody any more; the sockets' files stay, for the next agent is to take their place."""
        with self._lock:
            for device in tuple(self._by_device):
                self._end(device)

    def open(self, interface: AfXdpInterface) -> None:
        """Have a socket for an interface, at its place.

        Raises:
            OSError: its folder cannot be made or written.
        """
        with self._lock:
            if self._is_open(interface):
                return
            self._end(interface.host_device)  # of a file that is gone
            listening, file = listening_in(self._folders, interface.afxdp.place)
            listener = _Listener(interface, listening, file, self._map_of, self._threads)
            self._by_device[interface.host_device] = listener

    def is_open(self, interface: AfXdpInterface) -> bool:
        """Whether it has one."""
        with self._lock:
            return self._is_open(interface)

    def close(self, host_device: str, place: str, others: Collection[str]) -> None:
        """Have none for an interface; what its pod had at its *place* goes, but for what is at *others*.

        Raises:
            OSError: something there cannot be removed.
        """
        with self._lock:
            self._end(host_device)
        if place not in others:
            self._folders.leave(place, SOCKET, others)

    def remove_discarded(self) -> Iterator[None]:
        """Remove in pieces what pods had left in their folders."""
        return self._folders.remove_discarded()

    def _is_open(self, interface: AfXdpInterface) -> bool:
        """Whether it has one, and the pod has not changed what is at its place.

        That may be the socket of the pod's next sandbox by now, and stays so.
        """
        place = interface.afxdp.place
        if interface.host_device not in self._by_device:
            return False
        try:
            there = (self._folder / place / SOCKET).lstat()
        except OSError:
            return False
        return any(each.place == place and os.path.samestat(there, each.file) for each in self._by_device.values())

    def _end(self, host_device: str) -> None:
        listener = self._by_device.pop(host_device, None)
        if listener is not None:
            listener.end()


class _Listener:
    """An interface's socket, and the thread that answers whoever is connected to it."""

    def __init__(
        self, interface: AfXdpInterface, listening: socket.socket, file: os.stat_result, map_of: MapOf, threads: Threads
    ) -> None:
        """*file* is that of the socket."""
        self.place, self.file = interface.afxdp.place, file
        self._interface, self._listening, self._map_of, self._threads = interface, listening, map_of, threads
        self._connections: list[socket.socket] = []  # oldest first
        self._thread = threads.make(f"af_xdp {interface.host_device}", self._serve)
        self._thread.start()

    def end(self) -> None:
        """Answer nobody any more. The thread closes all; nobody waits for that."""
        self._thread.end()
        self._threads.forget(self._thread)
        with suppress(OSError):  # it died
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def _serve(self) -> None:
        while not self._thread.is_ending:
            poll = select.poll()
            for each in (self._listening, *self._connections):
                poll.register(each, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll()}
            for connection in [each for each in self._connections if each.fileno() in ready]:
                if not self._answered(connection):
                    self._connections.remove(connection)
                    connection.close()
            if self._listening.fileno() in ready and not self._thread.is_ending:
                self._accept()
        for each in (self._listening, *self._connections):
            each.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError as error:
            if not self._thread.is_ending:
                log.warning("AF_XDP socket: accept failed", device=self._interface.host_device, why=error)
                time.sleep(RETRY_S)
            return
        connection.settimeout(0)
        if len(self._connections) >= CONNECTIONS:
            self._connections.pop(0).close()
        self._connections.append(connection)

    def _answered(self, connection: socket.socket) -> bool:
        """Whether the conversation goes on."""
        descriptors: list[int] = []
        try:
            is_pods = netns_cookie(connection) == self._interface.netns_cookie
            message = connection.recv(LONGEST, socket.MSG_PEEK)
            if is_pods and brings_socket(message):
                _, descriptors, _, _ = socket.recv_fds(connection, LONGEST, _DESCRIPTORS)
            else:
                connection.recv(LONGEST)  # without what is beside it
            if not message:
                return False
            if is_pods:
                said = answer(message, self._interface.name, lambda wanted: _set_busy_poll(descriptors, wanted))
            else:
                log.warning("somebody else asks for a pod's AF_XDP sockets", device=self._interface.host_device)
                said = refused(message)
            self._send(connection, said)
        except BlockingIOError:
            return True
        except (OSError, MapsError) as error:
            log.info("AF_XDP socket: a conversation broke", device=self._interface.host_device, why=error)
            return False
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return not said.is_last

    def _send(self, connection: socket.socket, said: Answer) -> None:
        if said.gives is Gives.NOTHING:
            connection.send(said.text.encode())
            return
        with self._map_of(self._interface.host_device) as fd:
            socket.send_fds(connection, [said.text.encode()], [fd])


def listening_in(folders: PodFolders, place: str) -> tuple[socket.socket, os.stat_result]:
    """A socket that listens at a place, and its file, whatever the length of the path: an address has 108 octets."""
    with folders.made(place) as at:
        folders.discard(at, SOCKET)  # of an agent before, of an earlier sandbox of the pod, or whatever the pod made
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listening.bind(f"/proc/self/fd/{at}/{SOCKET}")
            file = _open_to_all(at)  # the pod's processes need not be root's: who they are the namespace says
            listening.listen(CONNECTIONS)
            listening.settimeout(0)
        except OSError:
            listening.close()
            raise
    return listening, file


def _open_to_all(folder: int) -> os.stat_result:
    """Let anybody connect to the socket in a folder that its pod can write to: what lies there is no link by now.

    Raises:
        OSError: something else lies there.
    """
    found = os.open(SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        file = os.fstat(found)
        if not stat.S_ISSOCK(file.st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), SOCKET)
        Path(f"/proc/self/fd/{found}").chmod(0o666)
    finally:
        os.close(found)
    return file


def _set_busy_poll(descriptors: list[int], wanted: BusyPoll) -> bool:
    """Whether the AF_XDP socket that came beside the message could be set so; its owner has not the right to.

    A socket is closed and taken from the list; what is none stays there.
    """
    if not descriptors:
        return False
    try:
        # by its family Python does not ask getsockname(), which AF_XDP has not; what is no socket is refused
        asked = socket.socket(AF_XDP, socket.SOCK_RAW, 0, fileno=descriptors[0])
        del descriptors[0]
        with asked:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            if asked.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) != AF_XDP:
                return False
            asked.setsockopt(socket.SOL_SOCKET, SO_PREFER_BUSY_POLL, 1)
            asked.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL, struct.pack("=i", wanted.timeout_us))
            asked.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL_BUDGET, struct.pack("=i", wanted.budget))
    except OSError as error:
        log.info("busy polling could not be set for a pod", why=error)
        return False
    return True
