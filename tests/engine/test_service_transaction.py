"""`assets/node/service` in its own root file system. Needs root."""

from __future__ import annotations

import base64
import itertools
import os
import random
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lab.node.service import Binary, Credential, File, Image, Part, Service, digest
from tests.support.service_sandbox import STATE, SUFFIX, UNIT, Node, Run, code, files_of

UNIT_FILE = f"/etc/systemd/system/{UNIT}"
CONFIGURATION = "/etc/tool/configuration"
KEY = "/etc/tool/key.pem"
WATCHED = "/etc/tool/watched.d/settings"
TOOL = "/opt/tool/bin/tool"
HELPER = "/opt/tool/bin/helper"
OBSOLETE = "/etc/tool/obsolete"
ADDED = "/srv/a/new folder/added"

OLD_TOOL, NEW_TOOL, SAME_HELPER = (
    Binary(name="tool", version="1"),
    Binary(name="tool", version="2"),
    Binary(name="helper", version="1"),
)
SEED = 20


def configuration(version: str, behaviour: str = "works") -> File:
    return File(content=f"version: {version}\nbehaviour: {behaviour}\n")


def unit_file(description: str) -> File:
    return File(content=f"[Unit]\nDescription={description}\n[Service]\nExecStart={TOOL} {CONFIGURATION}\n", mode=0o644)


OLD = Service(
    name="tool",
    unit=UNIT,
    files={
        UNIT_FILE: unit_file("old"),
        CONFIGURATION: configuration("old"),
        KEY: File(content=Credential(identity="tool", part=Part.KEY), mode=0o640, owner="root:daemon"),
        WATCHED: File(content="old settings\n", mode=0o644, restarts=False),
        OBSOLETE: File(content="goes\n", mode=0o644),
    },
    binaries={TOOL: OLD_TOOL, HELPER: SAME_HELPER},
    health=f"/test/healthy {UNIT}",
)


def changed(files: Mapping[str, File | None], service: Service = OLD) -> Service:
    """Return the service with other files; None removes a file."""
    return replace(service, files={path: file for path, file in {**service.files, **files}.items() if file})


# Everything that can change differs.
NEW = replace(
    changed(
        {
            UNIT_FILE: unit_file("new"),
            CONFIGURATION: configuration("new"),
            WATCHED: File(content="new settings\n", mode=0o600, restarts=False),
            OBSOLETE: None,
            ADDED: File(content="added\n" * 2000, mode=0o644, owner="daemon:daemon"),
        }
    ),
    binaries={TOOL: NEW_TOOL, HELPER: SAME_HELPER},
)


def behaving(behaviour: str) -> Service:
    """Return the new version with a behaviour that does not work."""
    return changed({CONFIGURATION: configuration("new", behaviour)}, NEW)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Node]:
    """A node without services. Its store has all binaries."""
    node = Node(tmp_path / "root")
    node.store(OLD_TOOL, NEW_TOOL, SAME_HELPER)
    yield node
    node.close()


@pytest.fixture
def node(empty: Node) -> Node:
    """A node with the old version."""
    empty.applied(OLD)
    return empty


# Changes and their effects


def test_first_version_is_installed_and_started(empty: Node) -> None:
    assert empty.applied(OLD) == "tool: restart"
    empty.assert_at(OLD)
    assert empty.starts() == 1


def test_same_version_changes_nothing(node: Node) -> None:
    inodes = {path: node.path(path).stat().st_ino for path in node.files()}
    assert node.applied(OLD) == "tool: unchanged"
    node.assert_at(OLD)
    assert node.starts() == 1
    assert inodes == {path: node.path(path).stat().st_ino for path in node.files()}


def test_many_changes_restart_once(node: Node) -> None:
    assert node.applied(NEW) == "tool: restart"
    node.assert_at(NEW)
    assert node.starts() == 2


@pytest.mark.parametrize(
    "service",
    [
        changed({CONFIGURATION: configuration("new")}),
        changed({CONFIGURATION: replace(configuration("old"), mode=0o644)}),
        changed({CONFIGURATION: replace(configuration("old"), owner="daemon:root")}),
        changed({KEY: File(content=Credential(identity="another", part=Part.KEY), mode=0o640, owner="root:daemon")}),
        changed({OBSOLETE: None}),
        changed({ADDED: File(content="added")}),
        replace(OLD, binaries={TOOL: NEW_TOOL, HELPER: SAME_HELPER}),
        replace(OLD, binaries={TOOL: OLD_TOOL}),
    ],
    ids=["content", "mode", "owner", "credential", "file removed", "file added", "binary", "binary removed"],
)
def test_one_change_restarts_once(node: Node, service: Service) -> None:
    result = node.apply(service)
    assert result.output == "tool: restart\n"
    assert "systemctl daemon-reload" not in result.calls
    node.assert_at(service)
    assert node.starts() == 2


def test_watched_file_restarts_nothing(node: Node) -> None:
    service = changed({WATCHED: File(content="new settings\n", restarts=False)})
    assert node.applied(service) == "tool: unchanged"
    node.assert_at(service)
    assert node.starts() == 1


@pytest.mark.parametrize("tools", [{}, {HELPER: NEW_TOOL}, {HELPER: SAME_HELPER, "/opt/tool/bin/other": NEW_TOOL}])
def test_changed_tools_restart_nothing(empty: Node, tools: Mapping[str, Binary]) -> None:
    old = replace(OLD, binaries={TOOL: OLD_TOOL}, tools={HELPER: SAME_HELPER})
    empty.applied(old)
    new = replace(old, tools=tools)
    assert empty.applied(new) == "tool: unchanged"
    empty.assert_at(new)
    assert empty.starts() == 1


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("by hand")], ids=["missing", "changed"])
def test_lost_tool_is_restored_without_a_restart(empty: Node, damage: Callable[[Path], object]) -> None:
    service = replace(OLD, binaries={TOOL: OLD_TOOL}, tools={HELPER: SAME_HELPER})
    empty.applied(service)
    helper = empty.path(HELPER)
    helper.rename(helper.with_name("moved"))
    shutil.copy(helper.with_name("moved"), helper)
    helper.with_name("moved").unlink()
    damage(helper)
    assert empty.applied(service) == "tool: unchanged"
    empty.assert_at(service)
    assert empty.starts() == 1


def test_version_applied_without_config_hash_is_compared_by_manifest(node: Node) -> None:
    recorded = node.path(f"{STATE}/applied/config-hash")
    recorded.unlink()
    assert node.applied(OLD) == "tool: unchanged"
    assert recorded.exists()
    recorded.unlink()
    assert node.applied(NEW) == "tool: restart"
    node.assert_at(NEW)


def test_payload_without_config_hash_is_refused(node: Node) -> None:
    result = node.run("apply", "tool", stdin=node.payload(NEW, config_hash=False))
    assert result.code == 1
    assert "the payload is incomplete: it lacks config-hash" in result.error
    node.assert_at(OLD)


def test_changed_unit_is_loaded_before_the_restart(node: Node) -> None:
    service = changed({UNIT_FILE: unit_file("new")})
    result = node.apply(service)
    assert result.calls.index("systemctl daemon-reload") < result.calls.index(f"systemctl restart --no-block {UNIT}")
    node.assert_at(service)


def test_reloading_service_is_not_restarted(node: Node) -> None:
    service = replace(changed({CONFIGURATION: configuration("new")}), activation="reload")
    assert node.applied(service) == "tool: reload"
    node.assert_at(service)
    assert node.starts() == 1


def test_files_without_a_unit_need_no_systemd(empty: Node) -> None:
    service = Service(name="tool", files={ADDED: File(content="added\n")})
    assert empty.applied(service) == "tool: unchanged"
    empty.assert_at(service)
    assert empty.unit_property("active") == ""
    assert empty.remove().code == 0
    assert empty.files() == {}


def owning(name: str, path: str) -> Service:
    """Return a service of one file."""
    return Service(name=name, files={path: File(content=f"of {name}\n")})


def test_path_passes_to_another_service(empty: Node) -> None:
    for service in (owning("other", "/etc/first"), owning("tool", "/etc/second")):
        empty.applied(service)
    taking, moved = owning("other", "/etc/second"), owning("tool", "/etc/third")
    for service in (taking, moved):
        empty.applied(service)
    assert empty.files() == {**files_of(taking), **files_of(moved)}


def test_removal_keeps_path_of_another_service(empty: Node) -> None:
    taking = owning("other", "/etc/second")
    for service in (owning("tool", "/etc/second"), taking):
        empty.applied(service)
    assert empty.remove().code == 0
    assert empty.files() == files_of(taking)


@pytest.mark.parametrize("leave", [lambda node: node.apply(owning("tool", "/etc/second")), Node.remove])
def test_file_of_others_comes_back(empty: Node, leave: Callable[[Node], Run]) -> None:
    path = empty.path("/etc/first")
    path.write_text("of others\n")
    path.chmod(0o640)
    for text in ("one\n", "two\n"):
        empty.applied(Service(name="tool", files={"/etc/first": File(content=text)}))
        assert path.read_text() == text
    assert leave(empty).code == 0
    assert path.read_text() == "of others\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_file_of_others_comes_back_after_an_unhealthy_first_version(empty: Node) -> None:
    path = empty.path("/etc/first")
    path.write_text("of others\n")
    unhealthy = Service(name="tool", files={"/etc/first": File(content="one\n")}, health="exit 3")
    assert empty.apply(unhealthy).code != 0
    assert path.read_text() == "of others\n"
    assert empty.remove().code == 0
    assert path.read_text() == "of others\n"


@pytest.mark.parametrize("text", ["one\n", "two\n"], ids=["same content", "another content"])
def test_a_path_without_its_link_keeps_the_file(text: str, empty: Node) -> None:
    folder, link = empty.path("/srv/real"), empty.path("/srv/link")
    folder.mkdir(parents=True)
    link.symlink_to("real")
    empty.applied(Service(name="tool", files={"/srv/link/f": File(content="one\n")}))
    for _ in range(2):
        empty.applied(Service(name="tool", files={"/srv/real/f": File(content=text)}))
        assert (folder / "f").read_text() == text
    assert empty.remove().code == 0
    assert not (folder / "f").exists()


def test_one_of_two_paths_of_a_binary_is_removed(node: Node) -> None:
    second = "/opt/other/helper"
    node.applied(replace(OLD, binaries={**OLD.binaries, second: SAME_HELPER}))
    node.applied(replace(OLD, binaries={TOOL: OLD_TOOL, second: SAME_HELPER}))
    assert (node.path(HELPER).exists(), node.path(second).exists()) == (False, True)


def test_killed_removal_keeps_the_file_of_others(empty: Node) -> None:
    path = empty.path("/etc/first")
    path.write_text("of others\n")
    empty.applied(owning("tool", "/etc/first"))
    for moment, _ in moments(empty.remove()):
        empty.applied(owning("tool", "/etc/first"))
        assert empty.remove(kill=moment).killed
        assert empty.remove().code == 0
        assert path.read_text() == "of others\n"


def test_changed_settings_restart_nothing(node: Node) -> None:
    service = replace(OLD, check="[ -d $STAGED ]", health="[ -e / ]")
    result = node.apply(service, timeout=7)
    assert result.output == "tool: unchanged\n"
    assert node.starts() == 1
    applied = node.path(f"{STATE}/applied")
    assert (applied / "health").read_text() == "[ -e / ]"
    assert (applied / "timeout").read_text() == "7"


def test_inactive_unit_is_started(node: Node) -> None:
    node.path(f"/test/units/{UNIT}/active").write_text("failed\n")
    assert node.applied(OLD) == "tool: start"
    node.assert_at(OLD)


def test_repair_restarts_an_unhealthy_service(node: Node) -> None:
    node.path(f"/test/units/{UNIT}/configuration").write_text("behaviour: ill\n")
    assert node.applied(OLD) == "tool: unchanged"
    assert node.applied(OLD, repair="found ill") == "tool: restart"
    node.assert_at(OLD)
    assert node.applied(OLD, repair="found otherwise") == "tool: unchanged"


def test_unhealthy_service_is_restarted_after_a_reboot(node: Node) -> None:
    boot = node.path(f"{STATE}/applied/boot")
    current = boot.read_text()
    boot.write_text("another")
    assert node.applied(OLD) == "tool: unchanged"
    assert boot.read_text() == current
    boot.write_text("another")
    node.path(f"/test/units/{UNIT}/configuration").write_text("behaviour: ill\n")
    assert node.applied(OLD) == "tool: restart"
    node.assert_at(OLD)


def test_service_never_healthy_after_a_reboot_fails(node: Node) -> None:
    unhealthy = replace(OLD, health="echo not enough memory; [ ! -e /test/rebooted ]")
    node.applied(unhealthy)
    node.path(f"{STATE}/applied/boot").write_text("another")
    node.path("/test/rebooted").touch()
    for _ in range(2):
        result = node.apply(unhealthy)
        assert result.code == 1
        assert "not enough memory" in result.error


def test_new_certificate_is_not_waited_for_after_a_reboot(node: Node) -> None:
    node.path(f"{STATE}/applied/boot").write_text("another")
    health = f"echo checked >>/test/checks; grep --quiet renewed {WATCHED}"
    renewed = replace(changed({WATCHED: File(content="renewed\n", restarts=False)}), health=health)
    assert node.applied(renewed) == "tool: restart"
    assert node.path("/test/checks").read_text().split() == ["checked"] * 2


@pytest.mark.parametrize("healthy", [True, False])
def test_unhealthy_service_gets_its_transient_files_with_a_new_certificate(node: Node, healthy: bool) -> None:
    token = {"/etc/tool/token": File(content="token\n", transient=True)}
    service = replace(changed(token), health="[ ! -e /test/expired ] || [ -e /etc/tool/token ]")
    node.applied(service)
    if not healthy:
        node.path("/test/expired").touch()
    starts = node.starts()
    renewed = changed({WATCHED: File(content="renewed\n", restarts=False)}, service)
    assert node.applied(renewed) == ("tool: unchanged" if healthy else "tool: restart")
    assert node.starts() == starts + (not healthy)


def test_changed_or_missing_images_are_imported(node: Node) -> None:
    image, later = Image(name="pause", version="1"), Image(name="pause", version="2")
    images_unit = File(content="[Service]\nExecStart=/bin/true\n", restarts=False)
    service = replace(changed({"/etc/systemd/system/tool-images.service": images_unit}), images=(image,))
    brings_in = "systemctl restart --no-block tool-images.service"
    node.store(image, later)
    assert brings_in in node.apply(service).calls
    # As assets/node/import-images records it.
    node.path(f"{STATE}/pinned").write_text(f"{digest(code(image))} {image.reference}\n")
    assert brings_in not in node.apply(service).calls
    assert brings_in in node.apply(service, repair="missing").calls
    assert brings_in not in node.apply(service, repair="missing").calls
    assert brings_in in node.apply(replace(service, images=(later,)), repair="missing").calls
    # An image that is no longer needed is unpinned.
    other = f"{digest('another')} registry.example/another:1\n"
    node.path(f"{STATE}/pinned").write_text(f"{other}{digest(code(image))} {image.reference}\n")
    assert brings_in in node.apply(service, repair="missing").calls
    assert node.starts() == 1


def test_health_of_the_previous_version_does_not_count(node: Node) -> None:
    node.path("/test/delay").write_text("3\n")
    # Enough time for the job on a busy machine: waiting for it counts as waiting for health.
    result = node.apply(behaving("hopeless"), timeout=60)
    assert result.code != 0
    assert "does not know its configuration" in result.error
    node.assert_at(OLD)


# Changes by hand


@pytest.mark.parametrize("path", [CONFIGURATION, WATCHED, UNIT_FILE, TOOL])
def test_changed_mode_is_restored_without_a_restart(node: Node, path: str) -> None:
    node.path(path).chmod(0o666)
    assert node.applied(OLD) == "tool: unchanged"
    node.assert_at(OLD)
    assert node.starts() == 1


@pytest.mark.parametrize("path", [CONFIGURATION, WATCHED, TOOL])
def test_changed_owner_is_restored_without_a_restart(node: Node, path: str) -> None:
    os.chown(node.path(path), 1, 1)
    assert node.applied(OLD) == "tool: unchanged"
    node.assert_at(OLD)
    assert node.starts() == 1


@pytest.mark.parametrize(("path", "starts"), [(CONFIGURATION, 2), (WATCHED, 1)])
@pytest.mark.parametrize("how", [lambda path: path.write_text("by hand"), Path.unlink], ids=["changed", "missing"])
def test_changed_or_missing_file_is_restored(node: Node, path: str, starts: int, how: Callable[[Path], object]) -> None:
    how(node.path(path))
    assert node.applied(OLD) == ("tool: restart" if starts == 2 else "tool: unchanged")
    node.assert_at(OLD)
    assert node.starts() == starts


@pytest.mark.parametrize("with_old_timestamp", [True, False])
def test_replaced_binary_is_restored(node: Node, with_old_timestamp: bool) -> None:
    node.path(TOOL).unlink()
    node.path(TOOL).write_text("#!/bin/sh\n# by hand\n")
    node.path(TOOL).chmod(0o755)
    if with_old_timestamp:
        os.utime(node.path(TOOL), (1, 1))
    assert node.applied(OLD) == "tool: restart"
    node.assert_at(OLD)


def test_link_in_place_of_a_file_is_replaced(node: Node) -> None:
    shutil.copy2(node.path(CONFIGURATION), node.path("/tmp/elsewhere"))
    node.path(CONFIGURATION).unlink()
    node.path(CONFIGURATION).symlink_to("/tmp/elsewhere")
    node.applied(OLD)
    assert not node.path(CONFIGURATION).is_symlink()
    node.assert_at(OLD)


# Refusals before any change


def test_failed_check_changes_nothing(node: Node) -> None:
    staged = f'cat "$STAGED{CONFIGURATION}"; exit 1'
    result = node.apply(replace(NEW, check=staged))
    assert result.code == 1
    assert f"tool on {socket.gethostname()}: refused before anything was changed: version: new" in result.error
    node.assert_at(OLD)
    assert node.starts() == 1


def test_check_gets_the_changed_paths(node: Node) -> None:
    refuses = f'[[ "$CHANGED" != *" {CONFIGURATION} "* ]] || {{ echo "not $CHANGED."; exit 1; }}'
    assert node.applied(replace(changed({ADDED: File(content="added")}), check=refuses)) == "tool: restart"
    result = node.apply(replace(changed({CONFIGURATION: configuration("new")}), check=refuses))
    assert f"refused before anything was changed: not  {CONFIGURATION} ." in result.error


def test_folder_in_place_of_a_file_changes_nothing(node: Node) -> None:
    node.path(ADDED).mkdir(parents=True)
    (node.path(ADDED) / "theirs").touch()
    result = node.apply(NEW)
    assert result.code == 1
    assert f"{ADDED} is a folder" in result.error
    (node.path(ADDED) / "theirs").unlink()
    assert node.applied(OLD) == "tool: unchanged"
    node.path(ADDED).rmdir()
    node.assert_at(OLD)


def test_missing_binary_changes_nothing(node: Node) -> None:
    result = node.apply(replace(NEW, binaries={TOOL: Binary(name="tool", version="3")}))
    assert result.code == 1
    assert f"tool on {socket.gethostname()}: the binary for {TOOL} is not on this node" in result.error
    node.assert_at(OLD)


def test_truncated_payload_changes_nothing(node: Node) -> None:
    payload = base64.b64decode(node.payload(NEW))
    # The last bytes are a checksum and the length. Even without them, the content is complete.
    for length in (*range(0, len(payload), 100), len(payload) - 1):
        result = node.run("apply", "tool", stdin=base64.b64encode(payload[:length]).decode())
        assert result.code == 1
        assert f"tool on {socket.gethostname()}: the payload is incomplete" in result.error
        node.assert_at(OLD)
        assert node.starts() == 1


# Versions that do not become healthy


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("ill", f"not healthy after 1 s: {UNIT} is active; does not answer"),
        ("hopeless", "does not know its configuration"),
        ("fails", f"{UNIT} failed"),
        ("exits", f"{UNIT} exits again and again"),
    ],
)
def test_unhealthy_version_is_rolled_back(node: Node, behaviour: str, reason: str) -> None:
    result = node.apply(behaving(behaviour))
    assert result.code == 1
    assert result.output == ""
    assert result.error.startswith(f"tool on {socket.gethostname()}: {reason}\n")
    assert "\nThe previous version was rolled back and is healthy.\nCorrect the cause" in result.error
    node.assert_at(OLD)
    assert node.starts() == 3
    assert node.applied(OLD) == "tool: unchanged"
    assert node.applied(NEW) == "tool: restart"
    node.assert_at(NEW)


def test_errors_hide_secrets(node: Node) -> None:
    secret = "S3cret-4711 with 'quotes' & \\ [brackets] *"
    service = replace(
        changed({CONFIGURATION: configuration("new", "fails")}, OLD), secrets=frozenset({secret, "first\nsecond"})
    )
    prints = f"printf 'It is %s.\\n' {shlex.quote(secret)} second; false"
    refused = node.apply(replace(service, check=prints))
    assert "It is [secret].\nIt is [secret]." in refused.error
    unhealthy = node.apply(replace(service, files={**OLD.files, ADDED: File(content="x")}, health=f"{prints}; exit 3"))
    assert "It is [secret].\nIt is [secret]." in unhealthy.error
    assert secret not in refused.error + unhealthy.error
    assert node.leftovers() == []


def test_error_has_the_errors_of_the_first_start(node: Node) -> None:
    assert node.apply(behaving("fails")).error.splitlines()[1:] == [
        "The errors in its journal:",
        '  E1128 18:21:11.868085 1 run.go:72] "command failed" err="cannot use the configuration"',
        "The last lines of its journal:",
        f"  {UNIT}: Main process exited, code=exited, status=1/FAILURE",
        "The previous version was rolled back and is healthy.",
        f"Correct the cause and run hardway up again. The whole log is on {socket.gethostname()}: "
        "journalctl _SYSTEMD_INVOCATION_ID=first + INVOCATION_ID=first",
    ]


def test_error_of_a_reload_names_the_whole_journal(empty: Node) -> None:
    reloads = replace(OLD, activation="reload")
    empty.applied(reloads)
    empty.path("/test/reloads-fail").touch()
    error = empty.apply(changed({CONFIGURATION: configuration("new")}, reloads)).error
    assert f"journalctl --unit {UNIT} --since @" in error


def test_way_back_from_a_slow_version_takes_as_long(node: Node) -> None:
    assert node.apply(OLD, timeout=2).code == 0
    assert "not healthy after 2 s" in node.apply(behaving("ill")).error


def test_hopeless_version_is_not_waited_for(node: Node) -> None:
    # If the program waited, the test would never end.
    assert "does not know" in node.apply(behaving("hopeless"), timeout=100_000).error


def test_rollback_restores_changes_by_hand(node: Node) -> None:
    node.path(WATCHED).write_text("by hand\n")
    node.path(WATCHED).chmod(0o604)
    assert node.apply(behaving("hopeless")).code == 1
    assert node.files() == {**files_of(OLD), WATCHED: ("by hand\n", 0o604, "root:root")}
    assert node.leftovers() == []


def test_unhealthy_first_version_is_removed(empty: Node) -> None:
    error = empty.apply(behaving("hopeless")).error
    assert "There was no previous version, so the service was removed again." in error
    assert empty.files() == {}
    assert empty.leftovers() == []
    assert empty.unit_property("active") == "inactive"
    empty.applied(OLD)
    empty.assert_at(OLD)


def test_error_names_unhealthy_previous_version(node: Node) -> None:
    node.path(f"{STATE}/applied/health").write_text("echo the cluster is away; exit 1")
    error = node.apply(behaving("hopeless")).error
    assert "does not know its configuration" in error
    assert "is not healthy either" in error
    assert "the cluster is away" in error
    assert node.leftovers() == []


def test_error_names_failed_reload_of_previous_version(empty: Node) -> None:
    reloads = replace(OLD, activation="reload")
    empty.applied(reloads)
    empty.path("/test/reloads-fail").touch()
    result = empty.apply(changed({CONFIGURATION: configuration("new")}, reloads))
    assert result.error.startswith(f"tool on {socket.gethostname()}: Job for {UNIT} failed.\n")
    assert f"is not healthy either: Job for {UNIT} failed." in result.error
    empty.path("/test/reloads-fail").unlink()
    assert empty.applied(reloads) == "tool: reload"
    empty.assert_at(reloads)


# Interruptions


def moments(run: Run, draws: int = 6) -> Iterator[tuple[tuple[int, str], random.Random]]:
    """Draw moments at which to kill the same run, each with a random generator for the test's next choices."""
    every = [(call, how) for call in range(1, len(run.calls) + 1) for how in ("before", "during")]
    chance = random.Random(SEED)
    chance.shuffle(every)
    return ((moment, chance) for moment in every[:draws])


def assert_complete(node: Node, *versions: Service) -> None:
    """Assert that each file is as in one of the versions, and that files of all versions exist."""
    found = {path: file for path, file in node.files().items() if not path.endswith(SUFFIX)}
    expected = [files_of(version) for version in versions]
    for path, file in found.items():
        assert file in [files[path] for files in expected if path in files], path
    assert set.intersection(*map(set, expected)) <= set(found)


def test_files_are_never_partial_or_missing(node: Node) -> None:
    for versions in ([OLD, NEW], [NEW, OLD], [OLD, behaving("hopeless")]):
        seen = node.watched(versions[1], set(OLD.files) & set(NEW.files) | {TOOL})
        for path, digests in seen.items():
            assert digests <= {digest(files_of(version)[path][0]) for version in versions}, path
            assert len(digests) == len({files_of(version)[path][0] for version in versions})


@pytest.mark.parametrize("new", [NEW, behaving("hopeless")], ids=["works", "hopeless"])
def test_next_run_recovers_from_a_killed_change(node: Node, new: Service) -> None:
    for version in (new, OLD):  # the folders stay, and existing ones are not created again
        node.apply(version)
    run = node.apply(new)
    node.applied(OLD)
    for moment, chance in moments(run, draws=25 if new == NEW else 6):
        assert node.apply(new, kill=moment).killed
        assert_complete(node, OLD, new)
        next_version = chance.choice([OLD, NEW])
        node.applied(next_version)
        node.assert_at(next_version)
        node.applied(OLD)


def test_next_run_recovers_from_a_killed_first_version(empty: Node) -> None:
    run = empty.apply(NEW)
    empty.remove()
    for moment, chance in moments(run):
        assert empty.apply(NEW, kill=moment).killed
        assert_complete(empty, Service(name="tool", files={}), NEW)
        next_version = chance.choice([NEW, OLD, None])
        if next_version:
            empty.applied(next_version)
            empty.assert_at(next_version)
        assert empty.remove().code == 0
        empty.assert_gone()


def test_removal_recovers_from_a_killed_change(node: Node) -> None:
    run = node.apply(NEW)
    node.applied(OLD)
    for moment, _ in moments(run):
        assert node.apply(NEW, kill=moment).killed
        assert node.remove().code == 0
        node.assert_gone()
        node.applied(OLD)


def test_next_run_recovers_from_a_killed_removal(node: Node) -> None:
    run = node.remove()
    for moment, chance in moments(run):
        node.applied(OLD)
        assert node.remove(kill=moment).killed
        if chance.choice([True, False]):
            node.applied(NEW)
            node.assert_at(NEW)
        assert node.remove().code == 0
        node.assert_gone()


def test_repeated_kills_end_at_the_last_version(node: Node) -> None:
    run = node.apply(NEW)
    node.applied(OLD)
    for moment, chance in moments(run):
        node.apply(NEW, kill=moment)
        for _ in range(2):
            node.apply(chance.choice([OLD, NEW]), kill=(chance.randint(1, len(run.calls)), "during"))
            assert_complete(node, OLD, NEW)
        node.applied(OLD)
        node.assert_at(OLD)


def test_killed_reload_is_rolled_back_by_previous_version(empty: Node) -> None:
    old = replace(OLD, activation="reload")
    new = changed({CONFIGURATION: configuration("new")}, old)
    empty.applied(old)
    run = empty.apply(new)
    empty.applied(old)
    for moment, _ in moments(run):
        assert empty.apply(new, kill=moment).killed
        empty.applied(old)
        empty.assert_at(old)
    assert empty.starts() == 1


def test_recovery_works_after_a_refused_version(node: Node) -> None:
    run = node.apply(NEW)
    node.applied(OLD)
    for moment, _ in moments(run):
        assert node.apply(NEW, kill=moment).killed
        node.apply(replace(NEW, check="false"))
        assert_complete(node, OLD, NEW)
        node.applied(OLD)
        node.assert_at(OLD)


def test_killed_run_without_changes_restarts_nothing(node: Node) -> None:
    run = node.apply(OLD)
    for moment, _ in moments(run):
        assert node.apply(OLD, kill=moment).killed
        assert node.applied(OLD) == "tool: unchanged"
        node.assert_at(OLD)
    assert node.starts() == 1


# Certificates that are not valid yet


def test_certificate_is_used_once_the_clock_reaches_its_start(node: Node) -> None:
    start = time.time() + 2
    result = node.apply(NEW, valid_from=start)
    assert result.code == 0, result.error
    assert "waiting" in result.output
    assert time.time() >= int(start)
    node.assert_at(NEW)


def test_clock_that_is_far_behind_is_named(node: Node) -> None:
    result = node.apply(NEW, valid_from=time.time() + 3600)
    assert result.code != 0
    assert "clock is behind" in result.error
    node.assert_at(OLD)
    assert node.starts() == 1


def test_clock_does_not_matter_without_changes(node: Node) -> None:
    result = node.apply(OLD, valid_from=time.time() + 3600)
    assert (result.code, result.output) == (0, "tool: unchanged\n")


# A full disk


def test_full_disk_keeps_the_previous_version(node: Node) -> None:
    for blocks in itertools.count():
        node.leave_free(blocks)
        result = node.apply(NEW)
        node.free()
        if result.code == 0:
            break
        assert "No space left on device" in result.error
        node.assert_at(OLD)
        assert node.starts() == 1
    assert blocks > 10
    node.assert_at(NEW)


# Removal


def test_removing_leaves_nothing(node: Node) -> None:
    assert node.remove().code == 0
    node.assert_gone()


def test_removing_a_missing_service_does_nothing(empty: Node) -> None:
    assert empty.remove().code == 0
    empty.assert_gone()


def test_removing_keeps_files_of_others(node: Node) -> None:
    node.path("/etc/tool/other").write_text("not ours\n")
    node.remove()
    assert list(node.files()) == ["/etc/tool/other"]


def test_another_cluster_restarts_the_service(node: Node) -> None:
    # A version before this one recorded no cluster.
    assert node.applied(OLD, cluster="a") == "tool: unchanged"
    assert node.applied(OLD, cluster="a") == "tool: unchanged"
    assert node.applied(OLD, cluster="b") == "tool: restart"
    assert node.applied(OLD, cluster="b") == "tool: unchanged"


def test_repair_restarts_a_service_that_manages_more_than_files(node: Node) -> None:
    service = replace(OLD, drift="true")
    node.applied(service)
    assert node.applied(service, repair="found an object that differs") == "tool: restart"
    assert node.applied(service, repair="found an object that differs") == "tool: unchanged"


# Files that the unit writes and refuses to read under other settings


STATE_FILE = "/var/lib/tool_state"


def with_policy(policy: str, behaviour: str = "works") -> Service:
    """Return a version of a unit that writes its policy into a file, and fails if it finds another one there."""
    content = f"behaviour: {behaviour}\npolicy: {policy}\n"
    service = changed({CONFIGURATION: File(content=content)})
    return replace(service, state_files={} if policy == "none" else {STATE_FILE: policy})


def policy(node: Node) -> str:
    return node.path(STATE_FILE).read_text().strip()


@pytest.mark.parametrize(("old", "new"), [("none", "static"), ("static", "none"), ("static 1", "static 2")])
def test_state_file_of_other_settings_is_deleted(empty: Node, old: str, new: str) -> None:
    for each in (old, new):
        assert empty.applied(with_policy(each)) == "tool: restart"
        assert policy(empty) == each


def test_state_file_of_the_same_settings_is_kept(empty: Node) -> None:
    old = with_policy("static")
    empty.applied(old)
    inode = empty.path(STATE_FILE).stat().st_ino
    assert empty.applied(replace(old, binaries={TOOL: NEW_TOOL, HELPER: SAME_HELPER})) == "tool: restart"
    assert empty.applied(old, repair="found a difference") == "tool: restart"
    assert empty.path(STATE_FILE).stat().st_ino == inode


def test_state_file_of_an_earlier_release_is_kept(empty: Node) -> None:
    version = with_policy("static")
    empty.applied(replace(version, state_files={}))
    inode = empty.path(STATE_FILE).stat().st_ino
    assert empty.applied(version) == "tool: unchanged"
    empty.applied(replace(version, binaries={TOOL: NEW_TOOL, HELPER: SAME_HELPER}))
    assert empty.path(STATE_FILE).stat().st_ino == inode


@pytest.mark.parametrize(("old", "new"), [("none", "static"), ("static", "none"), ("static 1", "static 2")])
def test_rollback_deletes_the_state_file_of_the_next_version(empty: Node, old: str, new: str) -> None:
    empty.applied(with_policy(old))
    error = empty.apply(with_policy(new, "hopeless")).error
    assert "The previous version was rolled back and is healthy." in error
    assert policy(empty) == old
    empty.applied(with_policy(new))
    assert policy(empty) == new


def test_failed_first_version_leaves_no_state_file_that_blocks_another(empty: Node) -> None:
    assert empty.apply(with_policy("static", "hopeless")).code == 1
    empty.applied(with_policy("none"))
    assert policy(empty) == "none"


@pytest.mark.parametrize(("old", "new"), [("none", "static"), ("static", "none")])
def test_unit_starts_after_a_killed_change_of_settings(empty: Node, old: str, new: str) -> None:
    versions = [with_policy(old), with_policy(new)]
    empty.applied(versions[0])
    run = empty.apply(versions[1])
    empty.applied(versions[0])
    for moment, chance in moments(run, draws=12):
        assert empty.apply(versions[1], kill=moment).killed
        empty.applied(chosen := chance.choice(versions))
        assert policy(empty) == {0: old, 1: new}[versions.index(chosen)]
        empty.applied(versions[0])


def test_removed_service_leaves_no_state_file_of_its_settings(empty: Node) -> None:
    empty.applied(with_policy("static"))
    assert empty.remove().code == 0
    assert not empty.path(STATE_FILE).exists()
