"""An S3 server in a separate process, with an empty bucket."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.go_programs import build
from tests.support.ssh_server import free_port
from tests.support.waiting import wait_until

BUCKET = "team"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    # The server sends no checksums, and the client would warn of each.
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
"""The environment of its clients. The server accepts every signature."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve the bucket on 127.0.0.1, and yield its URL for Pulumi."""
    address = f"127.0.0.1:{free_port()}"
    with subprocess.Popen([str(build("s3", ".")), address, BUCKET], stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: _answers(f"http://{address}/{BUCKET}"), "S3 answers", lambda: server.poll() is not None)
            yield f"s3://{BUCKET}/labs?endpoint=http://{address}&region=us-east-1&s3ForcePathStyle=true"
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url).close()
    except urllib.error.URLError:
        return False
    return True
