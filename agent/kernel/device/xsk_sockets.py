"""The unix sockets at which applications in pods are given the map of their AF_XDP sockets (``xsk_protocol``).

Each interface has one, at ``<run dir>/afxdp/<place>/afxdp.sock``, in a folder that its pod mounts. Whoever else reaches
it gets nothing: the kernel gives the socket of a connection the network namespace of the one who connected, and that is
the pod's or not, whatever process it was and wherever that is now.
"""

import errno
import os
import select
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import Lock

from agent.kernel.device.interface import AfXdpInterface
from agent.kernel.device.xdp_pod import remove_empty
from agent.kernel.device.xsk_protocol import LONGEST, Answer, BusyPoll, Gives, answer, refused
from agent.log import logger
from agent.netlink.cookie import netns_cookie
from agent.threads import Threads, Worker
from maps.errors import MapsError

log = logger(__name__)

SOCKET = "afxdp.sock"
CONNECTIONS = 16  # of an interface; of more, the oldest is ended
# linux/socket.h
SO_BUSY_POLL, SO_PREFER_BUSY_POLL, SO_BUSY_POLL_BUDGET = 46, 69, 70
_DESCRIPTORS = 1  # beside a message
MapOf = Callable[[str], AbstractContextManager[int]]  # of the sockets, by the node's end


class _Listener:
    """An interface's socket, and who is connected to it, oldest first."""

    def __init__(self, interface: AfXdpInterface, listening: socket.socket) -> None:
        self.interface, self.listening = interface, listening
        self.connections: dict[int, socket.socket] = {}


class XskSockets:
    """The sockets of one node, in *folder*; *map_of* opens the map of an interface."""

    def __init__(self, folder: Path, map_of: MapOf, threads: Threads) -> None:
        self._folder, self._map_of = folder, map_of
        self._lock = Lock()  # guards what follows
        self._by_device: dict[str, _Listener] = {}
        self._by_descriptor: dict[int, _Listener] = {}  # both kinds of sockets
        self._epoll = select.epoll()
        self._worker = Worker(threads, "af_xdp sockets", self._serve)

    def start(self) -> None:
        """Begin to answer."""
        self._worker.start()

    def stop(self) -> None:
        """Answer nobody any more; the sockets' files stay, for the next agent is to take their place."""
        self._worker.stop()
        with self._lock:
            for device in tuple(self._by_device):
                self._close(device)

    def open(self, interface: AfXdpInterface) -> None:
        """Have a socket for an interface.

        Raises:
            OSError: its folder cannot be written.
        """
        with self._lock:
            if interface.host_device in self._by_device:
                return
            listener = _Listener(interface, listening_in(self._folder / interface.afxdp.place))
            self._by_device[interface.host_device] = listener
            self._watch(listener.listening, listener)

    def is_open(self, interface: AfXdpInterface) -> bool:
        """Whether it has one."""
        with self._lock:
            return interface.host_device in self._by_device and (self._folder / interface.afxdp.place / SOCKET).exists()

    def close(self, host_device: str, place: str, *, is_others: bool) -> None:
        """Have none for an interface; the folder at its *place* goes, unless it is another interface's too."""
        with self._lock:
            self._close(host_device)
            if is_others:
                return
            path = self._folder / place / SOCKET
            path.unlink(missing_ok=True)
            if "/" in place:  # else a device's, whose folder is the device plugin's
                remove_empty(path.parent, self._folder)

    def _close(self, host_device: str) -> None:
        listener = self._by_device.pop(host_device, None)
        if listener is not None:
            for each in (listener.listening, *listener.connections.values()):
                self._forget(each)

    def _watch(self, what: socket.socket, listener: _Listener) -> None:
        self._by_descriptor[what.fileno()] = listener
        self._epoll.register(what.fileno(), select.EPOLLIN)

    def _forget(self, what: socket.socket) -> None:
        self._by_descriptor.pop(what.fileno(), None)
        with suppress(OSError):
            self._epoll.unregister(what.fileno())
        what.close()

    def _serve(self) -> None:
        while True:
            self._worker.wait(self._epoll.fileno())
            if self._worker.is_stopping:
                return
            with self._worker.busy(), self._lock:
                for descriptor, _ in self._epoll.poll(0):
                    self._ready(descriptor)

    def _ready(self, descriptor: int) -> None:
        listener = self._by_descriptor.get(descriptor)
        if listener is None:  # closed meanwhile
            return
        if descriptor == listener.listening.fileno():
            self._accept(listener)
            return
        connection = listener.connections[descriptor]
        if not self._answered(listener.interface, connection):
            del listener.connections[descriptor]
            self._forget(connection)

    def _accept(self, listener: _Listener) -> None:
        try:
            connection, _ = listener.listening.accept()
        except OSError as error:
            log.warning("AF_XDP socket: accept failed", device=listener.interface.host_device, why=error)
            return
        connection.settimeout(0)
        if len(listener.connections) >= CONNECTIONS:
            self._forget(listener.connections.pop(next(iter(listener.connections))))
        listener.connections[connection.fileno()] = connection
        self._watch(connection, listener)

    def _answered(self, interface: AfXdpInterface, connection: socket.socket) -> bool:
        """Whether the conversation goes on."""
        descriptors: list[int] = []
        try:
            message, descriptors, _, _ = socket.recv_fds(connection, LONGEST, _DESCRIPTORS)
            if not message:
                return False
            if netns_cookie(connection) == interface.netns_cookie:
                said = answer(message, interface.name, lambda wanted: _set_busy_poll(descriptors, wanted))
            else:
                log.warning("somebody else asks for a pod's AF_XDP sockets", device=interface.host_device)
                said = refused(message)
            self._send(interface, connection, said)
        except BlockingIOError:
            return True
        except (OSError, MapsError) as error:
            log.info("AF_XDP socket: a conversation broke", device=interface.host_device, why=error)
            return False
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return not said.is_last

    def _send(self, interface: AfXdpInterface, connection: socket.socket, said: Answer) -> None:
        if said.gives is Gives.NOTHING:
            connection.send(said.text.encode())
            return
        with self._map_of(interface.host_device) as fd:
            socket.send_fds(connection, [said.text.encode()], [fd])


def listening_in(folder: Path) -> socket.socket:
    """A socket that listens in a folder, whatever the length of the folder's path: an address has 108 octets."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    (folder / SOCKET).unlink(missing_ok=True)  # of an agent before, or of an earlier sandbox of the pod
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listening.bind(f"/proc/self/fd/{at}/{SOCKET}")
        _open_to_all(at)  # the pod's processes need not be root's: who they are the namespace says
        listening.listen(CONNECTIONS)
        listening.settimeout(0)
    except OSError:
        listening.close()
        raise
    finally:
        os.close(at)
    return listening


def _open_to_all(folder: int) -> None:
    """Let anybody connect to the socket in a folder that its pod can write to: what lies there is no link by now.

    Raises:
        OSError: something else lies there.
    """
    found = os.open(SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), SOCKET)
        Path(f"/proc/self/fd/{found}").chmod(0o666)
    finally:
        os.close(found)


def _set_busy_poll(descriptors: list[int], wanted: BusyPoll) -> bool:
    """Whether the socket that came beside the message could be set so; its owner has not the right to."""
    if not descriptors:
        return False
    # a descriptor that is no socket's is refused by the kernel
    try:
        with socket.socket(fileno=os.dup(descriptors[0])) as asked:
            asked.setsockopt(socket.SOL_SOCKET, SO_PREFER_BUSY_POLL, 1)
            asked.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL, struct.pack("=i", wanted.timeout_us))
            asked.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL_BUDGET, struct.pack("=i", wanted.budget))
    except OSError as error:
        log.info("busy polling could not be set for a pod", why=error)
        return False
    return True
