"""A server on the loopback address that fails like networks and machines do."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Forwards connections to a port of this machine until they are cut or fall silent.

    Attributes:
        port: The port to connect to.
        accepted: The number of connections accepted so far.
    """

    def __init__(self, target: int | None, refuse: int = 0) -> None:
        """Start listening.

        Args:
            target: The port to forward to. None closes every connection.
            refuse: The number of connections to close before the first one is forwarded, as a booting machine does.
        """
        self.accepted = 0
        self._target = target
        self._refuse = refuse
        self._open: list[socket.socket] = []
        self._forwarding = threading.Event()
        self._forwarding.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Close all open connections."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def fall_silent(self) -> None:
        """Forward nothing more and close nothing, as if the other machine had lost power."""
        self._forwarding.clear()

    def close(self) -> None:
        """Stop listening and close all connections."""
        # Without the shutdown, the thread would go on waiting in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._forwarding.set()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                if self._target is None or self.accepted <= self._refuse:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._forwarding.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
