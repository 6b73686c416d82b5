"""The settings of the add-ons."""

from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.spec import DnsAddon


def refusal(dns: dict[str, Any]) -> str:
    """Return the message about settings of CoreDNS."""
    with pytest.raises(ConfigurationError) as caught:
        parse({"addons": {"dns": dns}})
    return str(caught.value)


def test_settings_of_coredns_are_read() -> None:
    dns = {
        "replicas": 3,
        "forward": ["10.0.0.53", "10.0.1.53:5353"],
        "stubDomains": {"corp.example": ["10.0.0.54"]},
        "corefile": ["log", "hosts {", "10.0.0.1 a.example", "fallthrough", "}"],
    }
    assert parse({"addons": {"dns": dns}}).addons.dns == DnsAddon(
        replicas=3,
        forward=("10.0.0.53", "10.0.1.53:5353"),
        stub_domains={"corp.example": ("10.0.0.54",)},
        corefile=("log", "hosts {", "10.0.0.1 a.example", "fallthrough", "}"),
    )


@pytest.mark.parametrize(
    ("dns", "message"),
    [
        ({"replicas": -1}, "must be from 0 to 100"),
        ({"forward": ["127.0.0.53"]}, 'forward[0] = "127.0.0.53": must not be on loopback'),
        (
            {"stubDomains": {"a.example": ["127.0.0.1:5353"]}},
            "server for a.example that must not be on loopback",
        ),
        (
            {"forward": ["10.0.0.53", "10.32.0.10:53"]},
            "dns.forward: must not contain 10.32.0.10, because",
        ),
        (
            {"stubDomains": {"a.example": ["10.32.0.10"]}},
            "stubDomains.a.example: must not contain 10.32.0.10",
        ),
        ({"forward": ["dns.example"]}, 'forward[0] = "dns.example": must be an address'),
        ({"forward": ["10.0.0.1:99999"]}, "must end with a port from 1 to 65535"),
        ({"stubDomains": {"corp_example": ["10.0.0.1"]}}, "has the key corp_example"),
        ({"stubDomains": {"corp.example": "10.0.0.1"}}, "must have a list of name servers for corp.example"),
        ({"stubDomains": {"a.cluster.local": ["10.0.0.1"]}}, "must not contain a.cluster.local"),
        ({"corefile": ["rewrit name a b"]}, "did you mean rewrite?"),
        ({"corefile": ["hosts {"]}, "an opening brace without a closing one"),
        ({"corefile": ["}"]}, "does not start with a plugin"),
        ({"corefile": [" "]}, "must not be empty"),
    ],
)
def test_nonsense_is_refused(dns: dict[str, Any], message: str) -> None:
    assert message in refusal(dns)


def test_volumes_can_be_elsewhere_or_off() -> None:
    assert parse({"addons": {"localPath": {"path": "/srv/volumes"}}}).addons.volume_folder == "/srv/volumes"
    assert parse({"addons": {"localPath": {"enabled": False}}}).addons.volume_folder == ""


@pytest.mark.parametrize(
    "path", ["volumes", "/var/lib", "/var/lib/etcd/volumes", "/etc/ssh", "/srv/{name}", "/srv/../x"]
)
def test_volumes_stay_out_of_folders_of_others(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"hardway:addons\.localPath\.path"):
        parse({"addons": {"localPath": {"path": path}}})
