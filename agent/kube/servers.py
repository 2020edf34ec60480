"""Which of several API servers is asked: one that answers, and the API's own service as soon as the node serves it.

Before a node serves services, the address that a pod finds in its environment leads nowhere; ``--api-server`` names
addresses that work without. The service follows the API servers wherever they go, and they may all go while no agent
looks; so it is preferred once it is served, and those named stay for when it does not answer.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from threading import Event

from agent.kube.client import TROUBLE, Client
from agent.log import logger
from agent.threads import Threads

log = logger(__name__)

READY = "/readyz"  # which everybody may ask (ClusterRole system:public-info-viewer)
PERIOD_S = 5.0
ANSWER_S = 2.0  # in which a server answers that is well
FAILURES = 3  # in a row, after which another is asked; one that takes no connection is left at once


class Servers:
    """The servers of a :class:`Client`, by preference, and the thread that looks after them."""

    def __init__(
        self,
        client: Client,
        named: Sequence[str],
        threads: Threads,
        *,
        serves: Callable[[], bool],
        period_s: float = PERIOD_S,
    ) -> None:
        """*named* are URLs without a path, the preferred first; *serves* says whether the node serves services."""
        self._client, self._named, self._serves, self._period_s = client, tuple(named), serves, period_s
        self._failures = 0
        self._is_served = False
        self._woken = Event()
        self._thread = threads.make("api-servers", self._run)
        client.ask(self._named[0])
        client.on_unreachable = self._woken.set

    def start(self) -> None:
        """Begin to look after them."""
        self._thread.start()

    def stop(self) -> None:
        """End; a question that is under way is not waited for."""
        self._thread.end()
        self._woken.set()

    def _run(self) -> None:
        while True:
            is_unreachable = self._woken.wait(self._period_s)
            if self._thread.is_ending:
                return
            self._woken.clear()
            with self._thread.busy():
                self.look(is_unreachable=is_unreachable)

    def look(self, *, is_unreachable: bool = False) -> None:
        """Ask the server in use how it is; another is asked from now on where it is not well, or the service is served.

        *is_unreachable*: somebody could not connect to it, so that one bad answer is enough.
        """
        own = self._own()
        if own and not self._is_served and self._serves() and not self._trouble(own):
            self._is_served = True
            self._use(own)
            return
        why = self._trouble(self._client.server)
        self._failures = self._failures + 1 if why else 0
        if not why or (self._failures < FAILURES and not is_unreachable):
            return
        log.warning("API server does not answer", server=self._client.server, why=why)
        for server in (own, *self._named) if self._is_served else (*self._named, own):
            if server and server != self._client.server and not self._trouble(server):
                self._use(server)
                return

    def _own(self) -> str:
        """The server of the configuration, in a pod the API's service; empty while there is no configuration."""
        try:
            return self._client.own_server()
        except TROUBLE:
            return ""

    def _use(self, server: str) -> None:
        self._failures = 0
        if server != self._client.server:
            log.info("another API server is asked", server=server, before=self._client.server)
            self._client.ask(server)

    def _trouble(self, server: str) -> str:
        """Why a server is not well; empty if it is. One that refuses us is: rights are another matter."""
        try:
            response = self._client.get_from(server, READY, ANSWER_S)
        except TROUBLE as error:
            return " ".join(str(error).split())
        response.close()
        return (
            f"{READY} is answered with {response.status}" if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
        )
