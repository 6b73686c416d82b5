"""The engine and its plugins: suitable installed copies are used, the others are installed once."""

from pathlib import Path

import pytest

from lab import versions
from system.errors import ToolchainError
from toolchain import engine, golang
from toolchain.cache import Cache
from toolchain.release import ReleaseHosts
from toolchain.store import ArtifactStore

(ENGINE,) = versions.engine().versions


def program(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's empty home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    return tmp_path / "home"


def newer(version: str) -> str:
    major, minor, patch = version.removeprefix("v").split(".")
    return f"v{major}.{int(minor) + 1}.{patch}"


def older(version: str) -> str:
    major, minor, patch = version.removeprefix("v").split(".")
    return f"v{major}.{int(minor) - 1}.{patch}"


@pytest.mark.parametrize("version", [ENGINE, newer(ENGINE), f"{ENGINE}-dev.0"])
def test_new_enough_engine_is_used(path: Path, version: str) -> None:
    program(path / "pulumi", f"echo {version}")
    program(path / engine.LANGUAGE_HOST)
    assert engine.installed_engine() == path


@pytest.mark.parametrize("version", [older(ENGINE), "v4.0.0", "nonsense"])
def test_unsuitable_engine_is_not_used(path: Path, version: str) -> None:
    program(path / "pulumi", f"echo {version}")
    program(path / engine.LANGUAGE_HOST)
    assert engine.installed_engine() is None


def test_engine_without_language_host_is_not_used(path: Path) -> None:
    program(path / "pulumi", f"echo {ENGINE}")
    assert engine.installed_engine() is None


def test_wrappers_in_the_checkout_are_ignored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "pulumi", f"echo {ENGINE}")
    program(path / engine.LANGUAGE_HOST)
    monkeypatch.setattr(engine, "CHECKOUT", path.parent)
    assert engine.installed_engine() is None


def plugin_at(home: Path, name: str) -> Path:
    return home / f"plugins/resource-{name}-v{versions.plugins()[name]}/pulumi-resource-{name}"


def test_user_plugin_must_have_the_exact_version(home: Path) -> None:
    installed = plugin_at(home / ".pulumi", "command")
    program(installed)
    assert engine.installed_plugin("command", versions.plugins()["command"]) == installed
    assert engine.installed_plugin("command", "99.0.0") is None


def test_partial_plugin_is_not_used(home: Path) -> None:
    installed = plugin_at(home / ".pulumi", "command")
    program(installed)
    Path(f"{installed.parent}.partial").touch()
    assert engine.installed_plugin("command", versions.plugins()["command"]) is None


def test_plugins_in_the_checkout_are_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = home / "checkout/.lab/pulumi"
    program(plugin_at(stale, "command"))
    monkeypatch.setattr(engine, "CHECKOUT", home / "checkout")
    monkeypatch.setenv("PULUMI_HOME", str(stale))
    assert engine.installed_plugin("command", versions.plugins()["command"]) is None


INSTALLS = """
case $1 in
version) echo {version} ;;
plugin)
    echo "$4" >> "{log}"
    folder="$PULUMI_HOME/plugins/resource-$4-v$5"
    mkdir -p "$folder" && cp "$7" "$folder/" ;;
esac
"""


def test_plugins_are_installed_only_when_they_differ(path: Path, home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program(path / "pulumi", INSTALLS.format(version=ENGINE, log=log))
    program(path / engine.LANGUAGE_HOST)
    for name in versions.plugins():
        program(plugin_at(home / ".pulumi", name), f"echo {name}")
    lab = tmp_path / "lab"

    assert engine.install(lab) == path
    assert log.read_text().split() == list(versions.plugins())
    engine.install(lab)
    assert log.read_text().split() == list(versions.plugins())

    plugin_at(lab, "tls").write_text("something else")
    engine.install(lab)
    assert log.read_text().split() == [*versions.plugins(), "tls"]
    assert plugin_at(lab, "tls").read_bytes() == plugin_at(home / ".pulumi", "tls").read_bytes()


def test_user_plugins_stay_as_they_are(path: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    program(path / "pulumi", INSTALLS.format(version=ENGINE, log=log))
    program(path / engine.LANGUAGE_HOST)
    for name in versions.plugins():
        program(plugin_at(home / ".pulumi", name), f"echo {name}")
    monkeypatch.setattr(golang, "INSTALL_LOCATIONS", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = ArtifactStore(Cache(tmp_path / "cache"), ReleaseHosts({"github.com": ""}))

    assert engine.required_packages() == {}
    engine.install(home / ".pulumi", store)
    assert not log.exists()


def test_changed_sources_change_the_engine_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MODULE", tmp_path)
    (tmp_path / "main.go").write_text("package main\n")
    before = engine.engine().build_key
    (tmp_path / "main_test.go").write_text("package main\n")
    (tmp_path / "README.md").write_text("Read me.\n")
    assert engine.engine().build_key == before
    (tmp_path / "main.go").write_text("package main // changed\n")
    assert engine.engine().build_key != before


def test_missing_release_and_compiler_is_an_error(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path
    monkeypatch.setattr(golang, "INSTALL_LOCATIONS", ())
    unreachable = ReleaseHosts(dict.fromkeys(("github.com", "go.dev", "dl.google.com"), ""))
    with pytest.raises(ToolchainError, match=r"Go \S+ or newer is needed"):
        engine.install(tmp_path / "lab", ArtifactStore(Cache(tmp_path / "cache"), unreachable))
