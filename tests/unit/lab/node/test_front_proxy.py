"""The API server's credentials for extension API servers."""

from lab.node.render import services_of
from lab.node.service import Credential, Part
from lab.pki import Authority, authority_identity, identities
from lab.spec import Spec


def test_extension_api_servers_trust_only_the_front_proxy(dev: Spec) -> None:
    server = next(service for service in services_of(dev, dev.control_planes[0]) if service.name == "kube-apiserver")
    unit = server.visible_files["/etc/systemd/system/kube-apiserver.service"]
    flags = dict(line.strip(" \\").removeprefix("--").split("=", 1) for line in unit.splitlines() if "--" in line)
    client = identities(dev)["front-proxy-client"]
    authority = Credential(identity=authority_identity(Authority.FRONT_PROXY), part=Part.CERTIFICATE)
    assert server.files[flags["requestheader-client-ca-file"]].content == authority
    assert flags["requestheader-allowed-names"] == client.common_name
    certificate, key = (server.files[flags[f"proxy-client-{part}-file"]].content for part in ("cert", "key"))
    assert certificate == Credential(identity="front-proxy-client", part=Part.CERTIFICATE)
    assert key == Credential(identity="front-proxy-client", part=Part.KEY)
    assert [name for name, one in identities(dev).items() if one.authority is Authority.FRONT_PROXY] == [
        "front-proxy-client"
    ]
