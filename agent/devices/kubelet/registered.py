"""A resource's socket, and the kubelet's knowing of it, kept up: whoever of the two starts again.

A kubelet that starts empties the folder of all sockets and makes its own anew. So what is there says what is to be
done, whatever was missed meanwhile. Sockets of another device plugin of ours that runs are left to it (``looker``).
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from agent.devices.kubelet import device_plugin_pb2 as messages
from agent.devices.kubelet.calls import API_VERSION, KUBELET, PLUGINS, REGISTRATION, channel, method, why
from agent.devices.kubelet.plugin import OPTIONS, Plugin
from agent.log import logger
from agent.unix_socket import answers, is_left

log = logger(__name__)

TIMEOUT_S = 3.0
WORKERS = 16  # a stream holds one for as long as the kubelet reads it
PREFIX = "sluiceway-"
_File = tuple[int, int]  # inode and time of its change, in ns: what tells one file from another of its name


class Registered:
    """One resource, served and registered by :meth:`keep`."""

    def __init__(self, kubelet_dir: Path, plugin: Plugin, token: str) -> None:
        """*token* tells our process from others in the names of sockets: each container counts processes for itself."""
        self._plugin = plugin
        folder = kubelet_dir / PLUGINS
        # a path has room for 107 octets, and a resource's name may have more
        self._name = PREFIX + hashlib.sha256(plugin.resource.encode()).hexdigest()[:12]
        self._folder, self._kubelet = folder, folder / KUBELET
        self._token = token
        self._socket = folder / self._name
        self._turns = 0
        self._server: grpc.Server | None = None
        self._bound: _File | None = None
        self._known_to: _File | None = None
        self.error = ""  # why the kubelet does not know of it; empty: it does

    def keep(self, waits_for: str = "") -> None:
        """Serve, and register where this kubelet does not know of it; :attr:`error` says what is in the way.

        It is not registered yet where it *waits_for* something.
        """
        kubelet = _file(self._kubelet)
        if kubelet is None:
            self.error = f"there is no {self._kubelet}: the kubelet does not run"
            return
        if self._server is None or _file(self._socket) != self._bound:
            self._serve()
        if self._server is not None and kubelet != self._known_to:
            if waits_for:
                self.error = waits_for
            else:
                self._register(kubelet)

    def stop(self) -> None:
        """Serve no more; the kubelet holds the devices to be unhealthy until it hears again."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None
        self._sweep()

    def _serve(self) -> None:
        """A server on a new socket, which the kubelet does not know."""
        self.stop()
        self._known_to = None
        self._turns += 1  # gRPC takes a server's socket away by its name, some time after it has stopped
        self._socket = self._folder / f"{self._name}-{self._token}-{self._turns}.sock"
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="device plugin")
        server = grpc.server(pool, handlers=[self._plugin.handler()], options=(("grpc.so_reuseport", 0),))
        try:
            server.add_insecure_port(f"unix://{self._socket}")
            server.start()
            self._socket.chmod(0o600)
        except (RuntimeError, OSError) as error:  # or a kubelet that starts has emptied the folder meanwhile
            server.stop(0).wait()
            self.error = f"cannot listen at {self._socket}: {error}"
            log.warning("resource is not served", resource=self._plugin.resource, error=self.error)
            return
        self._server, self._bound = server, _file(self._socket)

    def _sweep(self) -> None:
        """Take away sockets of before, also those of a process that died; not of one that runs."""
        for path in self._folder.glob(f"{self._name}-*.sock"):
            if path.name.startswith(f"{self._name}-{self._token}-") or is_left(path):
                path.unlink(missing_ok=True)

    def _register(self, kubelet: _File) -> None:
        asked = messages.RegisterRequest(
            version=API_VERSION,
            endpoint=self._socket.name,
            resource_name=self._plugin.resource,
            options=OPTIONS,
        )
        try:
            with channel(self._kubelet) as connection:
                method(connection, REGISTRATION, "Register", messages.Empty)(asked, TIMEOUT_S)
        except grpc.RpcError as error:
            self.error = f"the kubelet does not register it: {why(error)}"
            log.warning("resource is not registered", resource=self._plugin.resource, error=why(error))
            return
        self.error, self._known_to = "", kubelet
        log.info("resource registered", resource=self._plugin.resource, socket=self._socket.name)


def others(kubelet_dir: Path, token: str) -> bool:
    """Whether another device plugin of ours serves this kubelet."""
    found = (kubelet_dir / PLUGINS).glob(f"{PREFIX}*.sock")
    return any(f"-{token}-" not in path.name and answers(path) for path in found)


def _file(path: Path) -> _File | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns
