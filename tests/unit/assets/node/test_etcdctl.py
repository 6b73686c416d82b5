"""`assets/node/etcdctl` with a fake etcdctl, which prints what it gets."""

import subprocess
from pathlib import Path

import pytest

from tests.support.node_programs import install

DEFAULTS = {
    "ETCDCTL_ENDPOINTS": "https://127.0.0.1:2379",
    "ETCDCTL_CACERT": "/etc/etcd/ca.crt",
    "ETCDCTL_CERT": "/etc/etcd/etcd.crt",
    "ETCDCTL_KEY": "/etc/etcd/etcd.key",
}


def run(folder: Path, *arguments: str, **variables: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables and the arguments that etcdctl gets."""
    program = folder / "etcdctl"
    program.write_text('#!/bin/bash\nenv | grep ^ETCDCTL_\necho\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    programs = install(folder / "programs", ETCDCTL=str(program))
    environment = {"PATH": "/usr/bin:/bin", **variables}
    command = [str(programs / "etcdctl"), *arguments]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seen, _, words = result.stdout.partition("\n\n")
    return dict(line.split("=", 1) for line in seen.splitlines()), words.splitlines()


def test_etcdctl_needs_no_options(tmp_path: Path) -> None:
    assert run(tmp_path, "get", "a key", "--keys-only") == (DEFAULTS, ["get", "a key", "--keys-only"])


@pytest.mark.parametrize("words", [("--cert=mine", "get"), ("get", "--cert", "mine")])
def test_an_option_replaces_its_default(tmp_path: Path, words: tuple[str, ...]) -> None:
    variables, arguments = run(tmp_path, *words)
    assert DEFAULTS.keys() - variables.keys() == {"ETCDCTL_CERT"}
    assert arguments == [*words]


def test_a_variable_replaces_its_default(tmp_path: Path) -> None:
    variables, _ = run(tmp_path, "get", ETCDCTL_ENDPOINTS="https://10.240.0.11:2379")
    assert variables == DEFAULTS | {"ETCDCTL_ENDPOINTS": "https://10.240.0.11:2379"}
