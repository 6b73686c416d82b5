"""A web server in a thread, with or without TLS."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving_http(handler: type[BaseHTTPRequestHandler], pair: Path | None = None) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 until the context ends, and yield the URL.

    Args:
        handler: Answers the requests.
        pair: A file with the certificate and the key. None means no TLS.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if pair else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
