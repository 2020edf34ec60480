"""An HTTP server for tests, on loopback: what those that stand for an API server have in common."""

from http.server import ThreadingHTTPServer
from threading import Thread


class Served(ThreadingHTTPServer):
    """Serves in a thread of its own from :meth:`start` to :meth:`stop`."""

    daemon_threads = True
    thread: Thread

    def start(self) -> None:
        """Serve; what the handlers look at is there already."""
        self.thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def stop(self) -> None:
        """Close everything."""
        self.shutdown()
        self.server_close()
        self.thread.join()
