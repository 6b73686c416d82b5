"""A client of HTTP/1.1 for asyncio. It keeps connections open, where the server does."""

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping

from system.errors import HardwayError

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]

MAX_REASON = 200
"""Characters of an error that are quoted."""


class AnswerError(HardwayError):
    """There is no answer, or it is an error. The message is the reason."""


class ConnectionClosedError(AnswerError):
    """The server closed the connection before it answered."""


class WebClient:
    """A client of one server.

    Requests at the same time use different connections. A request on a kept connection that the server has closed is
    sent again on a new one: the server may close a connection at any time, and that is no failure.
    """

    def __init__(self, connect: Connect, host: str) -> None:
        """Create a client without a connection.

        Args:
            connect: Opens a connection to the server.
            host: Name or address of the server, for the header Host.
        """
        self._connect = connect
        self._host = host
        self._idle: list[Connection] = []

    async def request(self, method: str, path: str, body: str = "", content_type: str = "") -> bytes:
        """Send a request and return the body of the answer.

        Args:
            method: Such as GET.
            path: Path with query.
            body: Body of the request. Empty for none.
            content_type: Its type.

        Raises:
            AnswerError: There is no answer, or its status is not 2xx.
            OSError: There is no connection.
        """
        headers = {"Host": self._host, "Accept": "*/*"}
        if body:
            headers |= {"Content-Type": content_type, "Content-Length": str(len(body.encode()))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        message = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
        if (kept := self._kept()) is not None:
            try:
                return await self._exchange(kept, message)
            except ConnectionClosedError:
                pass
        return await self._exchange(await self._connect(), message)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].transport.abort()

    def _kept(self) -> Connection | None:
        """Return an idle connection that the server has not closed. None if there is none."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and reader.exception() is None and not writer.is_closing():
                return reader, writer
            writer.transport.abort()
        return None

    async def _exchange(self, connection: Connection, message: bytes) -> bytes:
        reader, writer = connection
        is_kept = False
        try:
            try:
                writer.write(message)
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise AnswerError("the answer is cut off") from None
                raise ConnectionClosedError("the connection was closed without an answer") from None
            protocol, status, reason, headers = _parse(head)
            try:
                body, is_delimited = await _body(reader, headers)
            except (asyncio.IncompleteReadError, ConnectionError):
                raise AnswerError("the answer is cut off") from None
            is_kept = is_delimited and protocol == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        finally:
            if is_kept:
                self._idle.append(connection)
            else:
                writer.transport.abort()
        if not 200 <= status < 300:
            raise AnswerError(f"{status} {reason}: {_message(body)}".rstrip(": ")[:MAX_REASON])
        return body


def reason_of(error: Exception, timeout: float) -> str:
    """Return the reason of a failed request in a few words.

    Args:
        error: The error.
        timeout: Seconds that the request had.
    """
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {timeout:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    # asyncio's own text names the address again.
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _parse(head: bytes) -> tuple[str, int, str, Mapping[str, str]]:
    """Return the protocol, the status, its reason, and the headers by their names in lower case."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    try:
        protocol, status, *reason = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return protocol, int(status), " ".join(reason), headers
    except ValueError:
        raise AnswerError(f"the answer is not HTTP: {first[:80]!r}") from None


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """Return the body, and True if its end is not the end of the connection."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        chunks = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            chunks.append((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
        return b"".join(chunks), True
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"])), True
    return await reader.read(), False


def _message(body: bytes) -> str:
    """Return the message of a Status object of the API. Otherwise the first line of the body."""
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text.partition("\n")[0]
