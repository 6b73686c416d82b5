"""The client, with real servers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest

from ops.probe.web import AnswerError, WebClient, reason_of
from tests.support.http_server import serving_http
from tests.support.tcp_relay import Relay

REQUEST = ("GET", "/")


class Server(BaseHTTPRequestHandler):
    """Answers with the path, and closes connections as a test asks for."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int] = 200
    chunked: ClassVar[bool] = False
    closing: ClassVar[bool] = False
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.answer(self.path.encode())

    def do_PATCH(self) -> None:
        length = int(self.headers["Content-Length"])
        self.answer(f"{self.headers['Content-Type']} {self.rfile.read(length).decode()}".encode())

    def answer(self, body: bytes) -> None:
        self.seen.append(self.path)
        self.send_response(self.status)
        self.send_header("Transfer-Encoding", "chunked") if self.chunked else self.send_header(
            "Content-Length", str(len(body))
        )
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n1\r\n!\r\n0\r\n\r\n" % (len(body), body) if self.chunked else body)
        # Without the header, as a server does that stops or has a time-out.
        self.close_connection = self.closing

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the server's settings after each test."""
    for name, value in (("status", 200), ("chunked", False), ("closing", False), ("seen", [])):
        monkeypatch.setattr(Server, name, value)


@contextmanager
def relayed() -> Iterator[Relay]:
    """Serve behind a relay, which counts the connections and can cut them."""
    with serving_http(Server) as url:
        relay = Relay(int(url.rpartition(":")[2]))
        yield relay
        relay.close()


def client(port: int) -> WebClient:
    return WebClient(lambda: asyncio.open_connection("127.0.0.1", port), "server")


@pytest.mark.parametrize("chunked", [True, False])
def test_connection_is_kept(chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "chunked", chunked)

    async def ask(relay: Relay) -> list[bytes]:
        web = client(relay.port)
        return [await web.request("GET", path) for path in ("/a", "/b")]

    with relayed() as relay:
        assert asyncio.run(ask(relay)) == ([b"/a!", b"/b!"] if chunked else [b"/a", b"/b"])
        assert relay.accepted == 1


def test_body_is_sent_with_its_type() -> None:
    with relayed() as relay:
        assert asyncio.run(client(relay.port).request("PATCH", "/", "{}", "a/type")) == b"a/type {}"


def test_kept_connection_that_the_server_closed_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "closing", True)

    async def ask(relay: Relay) -> None:
        web = client(relay.port)
        for _ in range(5):
            assert await web.request(*REQUEST) == b"/"

    with relayed() as relay:
        asyncio.run(ask(relay))
        assert relay.accepted == 5
        assert len(Server.seen) == 5


def test_request_on_a_closed_connection_is_sent_once_more() -> None:
    """The connection ends after the client has chosen it, which is only seen when there is no answer."""

    async def ask() -> None:
        answers = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"", b""])
        accepted = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(reader)
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if answer := next(answers, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"):
                    writer.write(answer)
                else:
                    writer.close()
                    return

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            web = client(server.sockets[0].getsockname()[1])
            assert await web.request(*REQUEST) == b"ok"
            with pytest.raises(AnswerError, match="closed without an answer"):
                await web.request(*REQUEST)
            assert len(accepted) == 2
            assert await web.request(*REQUEST) == b""
            web.close()

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the answer is cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbody", "the answer is cut off"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is not HTTP: 'SSH-2.0-OpenSSH'"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nno such\nfile", "404 Not Found: no such"),
        (b'HTTP/1.1 503 Unavailable\r\n\r\n{"message": "shutting down"}', "503 Unavailable: shutting down"),
        (b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n", "500 Failed"),
    ],
)
def test_answer_that_is_an_error(answer: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await client(server.sockets[0].getsockname()[1]).request(*REQUEST)

    with pytest.raises(AnswerError) as error:
        asyncio.run(ask())
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer within 5 s"),
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 80)"), "Connection refused"),
        (AnswerError("404 Not Found"), "404 Not Found"),
    ],
)
def test_reason_is_short(error: Exception, reason: str) -> None:
    assert reason_of(error, 5.0) == reason


def test_connections_are_not_shared() -> None:
    async def ask(relay: Relay) -> None:
        web = client(relay.port)
        await asyncio.gather(*(web.request(*REQUEST) for _ in range(3)))
        await asyncio.gather(*(web.request(*REQUEST) for _ in range(3)))

    with relayed() as relay:
        asyncio.run(ask(relay))
        assert relay.accepted == 3
