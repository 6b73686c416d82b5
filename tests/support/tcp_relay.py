"""Servers on the loopback address that misbehave as networks and machines do."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Passes connections on to a port of this machine, until it is told to cut them or to fall silent.

    refuse: how many connections it closes at once before it passes one on, as a machine does that is still booting.
    """

    def __init__(self, target: int | None, refuse: int = 0) -> None:
        self.accepted = 0
        self._target = target
        self._refuse = refuse
        self._open: list[socket.socket] = []
        self._speaking = threading.Event()
        self._speaking.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Closes the connections that stand."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def fall_silent(self) -> None:
        """Passes nothing on any more, and closes nothing: what a power cut looks like from afar."""
        self._speaking.clear()

    def close(self) -> None:
        """Ends it, with the connections that stand."""
        # Closing alone would leave the thread waiting in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._speaking.set()

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
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._speaking.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
