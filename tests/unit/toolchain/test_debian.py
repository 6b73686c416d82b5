"""The VM image's packages come from this machine's repositories, and only from those of Debian."""

import pytest

from system.errors import ToolchainError
from toolchain.debian import ACQUIRE_SETTING, sources_from

LISTING = """\
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


def test_debian_repositories_are_used() -> None:
    assert suites(sources_from(LISTING, "bookworm")) == {
        "bookworm": "http://mirror.example/debian/",
        "bookworm-updates": "http://mirror.example/debian/",
        "bookworm-security": "http://mirror.example/debian-security/",
    }


def test_suite_may_differ_from_the_machine() -> None:
    assert set(suites(sources_from(LISTING, "trixie"))) == {"trixie", "trixie-updates", "trixie-security"}


@pytest.mark.parametrize("listing", ["", "https://packages.example/ stable main Some Vendor\n"])
def test_missing_debian_repositories_are_an_error(listing: str) -> None:
    with pytest.raises(ToolchainError, match="apt-get update"):
        sources_from(listing, "bookworm")


@pytest.mark.parametrize(
    ("line", "copied"),
    [
        ('Acquire::http::Proxy "http://proxy.example";', True),
        ('Acquire::https::CAInfo "/etc/ca.pem";', True),
        ('Acquire::Check-Valid-Until "false";', True),
        ('Acquire::httpd "no";', False),
        ('Acquire::GzipIndexes "true";', False),
        ('APT::Architecture "amd64";', False),
    ],
)
def test_only_acquire_settings_are_copied(line: str, copied: bool) -> None:
    assert bool(ACQUIRE_SETTING.match(line)) is copied
