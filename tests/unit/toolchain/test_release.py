"""Downloads: a failure that may pass is retried after a pause, every other failure is reported at once."""

import errno
import hashlib
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

import pytest

from lab.versions import Release
from tests.support.release_host import Fault, ReleaseHost
from toolchain.release import MAX_RETRIES_WITHOUT_ANSWER, RETRY_PAUSES, NotAvailableError, ReleaseHosts

RELEASE = Release(
    archive="https://releases.example/program.tar.gz", checksum="https://releases.example/program.tar.gz.sha256"
)
OTHER = Release(archive="https://other.example/program", checksum="https://other.example/program.sha256")
CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def host() -> Iterator[ReleaseHost]:
    server = ReleaseHost()
    server.publish(RELEASE, CONTENT)
    yield server
    server.stop()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that the downloads made, in seconds. None of them is real."""
    return []


@pytest.fixture
def hosts(host: ReleaseHost, pauses: list[float]) -> ReleaseHosts:
    return ReleaseHosts(host.mirrors("releases.example"), sleep=pauses.append)


PASSING = [
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    *Fault,
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
@pytest.mark.parametrize("address", [RELEASE.archive, RELEASE.checksum], ids=["archive", "checksum"])
def test_passing_failure_is_retried(
    host: ReleaseHost,
    hosts: ReleaseHosts,
    pauses: list[float],
    tmp_path: Path,
    fault: Fault | HTTPStatus,
    address: str,
) -> None:
    host.fail(address, fault, times=2)
    hosts.fetch(RELEASE, tmp_path / "program")
    assert (tmp_path / "program").read_bytes() == CONTENT
    assert pauses == list(RETRY_PAUSES[:2])
    assert host.request_count(address) == 3


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_retries_are_limited(
    host: ReleaseHost, hosts: ReleaseHosts, pauses: list[float], tmp_path: Path, fault: Fault | HTTPStatus
) -> None:
    host.fail(RELEASE.archive, fault)
    with pytest.raises(NotAvailableError):
        hosts.fetch(RELEASE, tmp_path / "program")
    retries = MAX_RETRIES_WITHOUT_ANSWER if fault is Fault.RESET else len(RETRY_PAUSES)
    assert pauses == list(RETRY_PAUSES[:retries])
    assert list(tmp_path.iterdir()) == []


def test_pauses_grow_and_are_short() -> None:
    assert list(RETRY_PAUSES) == sorted(RETRY_PAUSES)
    assert sum(RETRY_PAUSES) <= 15


def test_retries_are_printed(
    host: ReleaseHost, hosts: ReleaseHosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.fail(RELEASE.archive, HTTPStatus.SERVICE_UNAVAILABLE, times=1)
    hosts.fetch(RELEASE, tmp_path / "program")
    shown = capsys.readouterr().err
    assert "program.tar.gz: the host answers 503 Service Unavailable; trying again in 1 s" in shown


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.GONE])
def test_permanent_answer_fails_at_once(
    host: ReleaseHost, hosts: ReleaseHosts, pauses: list[float], tmp_path: Path, status: HTTPStatus
) -> None:
    host.fail(RELEASE.archive, status)
    with pytest.raises(NotAvailableError, match=str(status.value)):
        hosts.fetch(RELEASE, tmp_path / "program")
    assert pauses == []
    assert host.request_count(RELEASE.archive) == 1


def test_wrong_checksum_fails_at_once(
    host: ReleaseHost, hosts: ReleaseHosts, pauses: list[float], tmp_path: Path
) -> None:
    host.publish(RELEASE, CONTENT, hashlib.sha256(b"other content").hexdigest())
    with pytest.raises(NotAvailableError, match="SHA-256"):
        hosts.fetch(RELEASE, tmp_path / "program")
    assert pauses == []
    assert host.request_count(RELEASE.archive) == 1


def test_refused_connection_fails_at_once(pauses: list[float], tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound, but not listening: the kernel refuses connections.
        hosts = ReleaseHosts({"releases.example": f"http://127.0.0.1:{closed.getsockname()[1]}"}, sleep=pauses.append)
        with pytest.raises(NotAvailableError, match=r"releases\.example is not reachable"):
            hosts.fetch(RELEASE, tmp_path / "program")
    assert pauses == []


def test_excluded_host_fails_at_once(pauses: list[float], tmp_path: Path) -> None:
    with pytest.raises(NotAvailableError, match="excludes this host"):
        ReleaseHosts({"releases.example": ""}, sleep=pauses.append).fetch(RELEASE, tmp_path / "program")
    assert pauses == []


@pytest.fixture
def fail_to_connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[OSError], list[str]]:
    """A function that lets every connection fail with an error. It returns the list of the URLs that are opened."""

    def prepare(error: OSError) -> list[str]:
        opened: list[str] = []

        def urlopen(url: str, **_: object) -> NoReturn:
            opened.append(url)
            raise urllib.error.URLError(error)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        return opened

    return prepare


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)),
        OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)),
    ],
    ids=["unknown-host", "no-network", "no-route"],
)
def test_machine_without_network_does_not_wait(
    fail_to_connect: Callable[[OSError], list[str]], pauses: list[float], tmp_path: Path, error: OSError
) -> None:
    opened = fail_to_connect(error)
    with pytest.raises(NotAvailableError, match=r"releases\.example is not reachable"):
        ReleaseHosts({}, sleep=pauses.append).fetch(RELEASE, tmp_path / "program")
    assert pauses == []
    assert opened == [RELEASE.checksum]


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)),
        ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
    ],
    ids=["name-resolution", "time-out", "reset"],
)
def test_machine_without_answers_waits_only_once(
    fail_to_connect: Callable[[OSError], list[str]], pauses: list[float], tmp_path: Path, error: OSError
) -> None:
    opened, hosts = fail_to_connect(error), ReleaseHosts({}, sleep=pauses.append)
    for release in (RELEASE, OTHER, RELEASE):
        with pytest.raises(NotAvailableError, match="is not reachable"):
            hosts.fetch(release, tmp_path / "program")
    assert pauses == list(RETRY_PAUSES[:MAX_RETRIES_WITHOUT_ANSWER])
    assert opened == [RELEASE.checksum] * (1 + MAX_RETRIES_WITHOUT_ANSWER) + [OTHER.checksum]


def test_progress_has_received_and_total_bytes(
    hosts: ReleaseHosts, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.console.MIN_INTERVAL", 0.0)
    hosts.fetch(RELEASE, tmp_path / "program")
    assert "program.tar.gz: downloading: 0.2 MiB of 0.2 MiB (100 %)" in capsys.readouterr().err
