"""The steps of `assets/node/encryption` with a fake etcd that has no objects, and a fake `service`."""

import base64
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.node import paths
from lab.node.encryption import encryption_configuration
from lab.node.service import File, Service, config_hash, contents, manifest
from lab.spec import Encryption
from tests.support.node_programs import install


class Node:
    """A control plane in a folder, with keys that run."""

    def __init__(self, root: Path, *keys: str) -> None:
        """Write the version that runs."""
        self.root = root
        self._programs = install(root / "programs", root=root)
        self._put("usr/local/bin/etcdctl", "#!/bin/sh\necho '{}'\n")
        self._put("programs/service", '#!/bin/sh\nbase64 -d | tar -x -z -C "${0%/*}/../applied"\n')
        (root / "applied").mkdir()
        self.running, listing = self._version(keys, ("secrets", "configmaps"))
        self._put(paths.ENCRYPTION_CONFIGURATION, self.running)
        self._put(f"{paths.SERVICES}/kube-apiserver/applied/manifest", listing)

    def apply(self, *keys: str, resources: tuple[str, ...] = ("secrets", "configmaps")) -> str:
        """Apply keys and return the error."""
        text, listing = self._version(keys, resources)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            files = {"manifest": listing, "config-hash": config_hash(listing), f"root{self._configuration}": text}
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
        command = [str(self._programs / "encryption"), "apply", "/registry", "kube-apiserver"]
        payload = base64.encodebytes(archive.getvalue())
        return subprocess.run(command, input=payload, check=False, capture_output=True).stderr.decode()

    @property
    def applied(self) -> str:
        """The configuration that `service` got."""
        return (self.root / "applied" / f"root{self._configuration}").read_text()

    @property
    def is_pending(self) -> bool:
        """True if `finish` has something to do."""
        return (self.root / f"{paths.STATE}/encryption-pending".lstrip("/")).exists()

    @property
    def _configuration(self) -> str:
        return f"{self.root}{paths.ENCRYPTION_CONFIGURATION}"

    def _put(self, path: str, text: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)

    def _version(self, keys: tuple[str, ...], resources: tuple[str, ...]) -> tuple[str, str]:
        content = encryption_configuration(Encryption(keys=keys, resources=resources))
        service = Service(name="kube-apiserver", files={self._configuration: File(content=content)})
        listing = manifest(service, lambda credential: credential.identity, lambda _: "")
        return contents(service, lambda credential: credential.identity)[self._configuration], listing


def test_the_first_step_of_removing_a_key_changes_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "key-2", "key-1")
    assert node.apply("key-2") == ""
    assert (node.applied, node.is_pending) == (node.running, True)


def test_the_first_step_of_preferring_a_key_makes_it_readable(tmp_path: Path) -> None:
    node = Node(tmp_path, "key-1")
    assert node.apply("key-2", "key-1") == ""
    assert node.applied.index("key-1") < node.applied.index("key-2")
    assert node.is_pending


@pytest.mark.parametrize(
    ("keys", "resources", "advice"),
    [
        (("key-2",), ("secrets", "configmaps"), "Keep key-1 as the last of encryption.keys"),
        (
            ("key-1",),
            ("secrets",),
            "Keep configmaps in encryption.resources",
        ),
    ],
)
def test_a_refusal_says_what_to_do_first(
    tmp_path: Path, keys: tuple[str, ...], resources: tuple[str, ...], advice: str
) -> None:
    node = Node(tmp_path, "key-1")
    assert advice in node.apply(*keys, resources=resources)
    assert not node.is_pending
