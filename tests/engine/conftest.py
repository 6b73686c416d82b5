"""Fixtures of all engine tests: the engine with its plugins, projects and a hypervisor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.libvirt.private import PrivateLibvirt
from tests.support.engine_plugins import PLUGINS
from tests.support.pulumi_project import Project


@pytest.fixture(scope="session")
def engine() -> Path:
    """The `pulumi` on PATH. PULUMI_HOME has the plugins in the versions that the Python packages require."""
    found = shutil.which("pulumi")
    if found is None or "PULUMI_HOME" not in os.environ:
        pytest.fail("These tests need `pulumi` on PATH and PULUMI_HOME: `make test` sets them up.")
    listed = subprocess.run([found, "plugin", "ls", "--json"], capture_output=True, text=True, check=True)
    installed = {plugin["name"]: plugin["version"] for plugin in json.loads(listed.stdout)}
    if missing := PLUGINS.items() - installed.items():
        pytest.fail(f"These plugins are not in PULUMI_HOME: {sorted(missing)}. `make test` installs them.")
    return Path(found)


@pytest.fixture(scope="module")
def new_project(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """A function that creates a Pulumi project in a new folder of the given name."""
    assert engine
    folder = tmp_path_factory.mktemp("projects")
    return lambda name: Project(folder / name)


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[PrivateLibvirt]:
    """An empty private hypervisor. It needs root."""
    hypervisor = PrivateLibvirt(tmp_path / "instance")
    hypervisor.start(owner=os.getpid())
    yield hypervisor
    hypervisor.purge()
