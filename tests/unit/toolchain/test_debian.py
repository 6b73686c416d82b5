"""The VM image's packages come from where this machine's come from, and from Debian alone."""

import pytest

from system.errors import ToolchainError
from toolchain.debian import CARRIED_OVER, sources_like

LISTED = """\
http://mirror.example/debian/ bookworm main Debian
http://mirror.example/debian/ bookworm non-free-firmware Debian
http://mirror.example/debian/ bookworm-updates main Debian
http://mirror.example/debian/ bookworm-backports main Debian Backports
http://mirror.example/debian-security/ bookworm-security main Debian
https://packages.example/ stable main Some Vendor
"""


def suites(text: str) -> dict[str, str]:
    pairs = [stanza.splitlines() for stanza in text.split("\n\n")]
    return {lines[2].removeprefix("Suites: "): lines[1].removeprefix("URIs: ") for lines in pairs}


def test_debians_own_repositories_are_taken_over() -> None:
    assert suites(sources_like(LISTED, "bookworm")) == {
        "bookworm": "http://mirror.example/debian/",
        "bookworm-updates": "http://mirror.example/debian/",
        "bookworm-security": "http://mirror.example/debian-security/",
    }


def test_the_suite_may_be_another_than_the_machines() -> None:
    assert set(suites(sources_like(LISTED, "trixie"))) == {"trixie", "trixie-updates", "trixie-security"}


@pytest.mark.parametrize("listed", ["", "https://packages.example/ stable main Some Vendor\n"])
def test_a_machine_without_debians_packages_is_told_so(listed: str) -> None:
    with pytest.raises(ToolchainError, match="apt-get update"):
        sources_like(listed, "bookworm")


@pytest.mark.parametrize(
    ("line", "carried"),
    [
        ('Acquire::http::Proxy "http://proxy.example";', True),
        ('Acquire::https::CAInfo "/etc/ca.pem";', True),
        ('Acquire::Check-Valid-Until "false";', True),
        ('Acquire::httpd "no";', False),
        ('Acquire::GzipIndexes "true";', False),
        ('APT::Architecture "amd64";', False),
    ],
)
def test_settings_of_how_packages_are_fetched_are_carried_over(line: str, carried: bool) -> None:
    assert bool(CARRIED_OVER.match(line)) is carried
