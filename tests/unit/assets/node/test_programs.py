"""The archive of node programs that a node receives before any program runs."""

import base64
import io
import tarfile

from components.connection import _programs
from lab.node.paths import node_environment
from lab.node.units import ASSETS


def test_archive_has_programs_and_the_files_that_they_source() -> None:
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(_programs()))) as tar:
        modes = {member.name: member.mode for member in tar}
        environment = tar.extractfile("node.env")
        assert environment
        assert environment.read().decode() == node_environment()
    sourced = {"node.env", "manifest.sh"}
    assert modes.keys() == {path.name for path in (ASSETS / "node").iterdir()} | sourced
    assert {name for name, mode in modes.items() if mode == 0o644} == sourced
    assert {mode for name, mode in modes.items() if name not in sourced} == {0o755}


def test_former_program_names_are_kept() -> None:
    names = {path.name for path in (ASSETS / "node").iterdir()}
    # Existing stacks have recorded delete commands with these programs.
    assert {"membership", "service", "machine", "etcd-member"} <= names
