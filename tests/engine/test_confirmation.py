"""Changes that must be confirmed: `assets/node/service` with `assets/node/confirm`. Needs root."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.node.paths import CONFIRM_BY, CONFIRM_WITHIN, ENCRYPTION_CONFIGURATION
from lab.node.service import Binary, File, Service
from tests.support.service_sandbox import STATE, UNIT, Node, Run, files_of

CONFIGURATION = "/etc/tool/configuration"
ADDED = "/srv/added"
LIMIT = 600
"""Seconds."""
SEED = 20


def version(number: int, *, behaviour: str = "works", name: str = "tool", **files: str) -> Service:
    """Return a version of a service, with more files by a key each."""
    unit = f"[Unit]\nDescription=number {number}\n[Service]\nExecStart=/opt/tool/bin/tool {CONFIGURATION}\n"
    texts = {CONFIGURATION: f"version: {number}\nbehaviour: {behaviour}\n"}
    texts |= {f"/etc/{name}/{key}": text for key, text in files.items()}
    if name != "tool":
        return Service(name=name, files={f"/etc/{name}/version": File(content=f"{number}\n")})
    return Service(
        name=name,
        unit=UNIT,
        files={f"/etc/systemd/system/{UNIT}": File(content=unit, mode=0o644)}
        | {path: File(content=text) for path, text in texts.items()},
        binaries={"/opt/tool/bin/tool": Binary(name="tool", version=str(number))},
        health=f"/test/healthy {UNIT}",
    )


@pytest.fixture
def unlimited(tmp_path: Path) -> Iterator[Node]:
    """A node with the first version of a service, without a limit for confirmations."""
    node = Node(tmp_path / "root")
    node.store(*(Binary(name="tool", version=str(number)) for number in range(1, 5)))
    node.applied(version(1))
    yield node
    node.close()


@pytest.fixture
def node(unlimited: Node) -> Node:
    """A node with the first version of a service, on which changes must be confirmed."""
    unlimited.path(CONFIRM_WITHIN).parent.mkdir(parents=True)
    unlimited.path(CONFIRM_WITHIN).write_text(f"{LIMIT}\n")
    return unlimited


def expire(node: Node) -> None:
    """Let the time for a confirmation be over."""
    deadline, boot = node.path(CONFIRM_BY).read_text().split()
    assert 0 < int(deadline) - time.time() <= LIMIT
    node.path(CONFIRM_BY).write_text(f"1 {boot}\n")


def returned(node: Node) -> list[str]:
    """Return the names of the services that have returned."""
    result = node.confirm("report")
    assert result.code == 0, result.error
    return re.findall("returned\t(.*)\n", result.output)


def assert_at(node: Node, service: Service) -> None:
    """Assert that the node is as if only this version had ever been applied, and that nothing must be confirmed."""
    assert not node.path(CONFIRM_BY).exists()
    node.path(f"{STATE}/returned").unlink(missing_ok=True)
    others = {path: file for path, file in node.files().items() if path == CONFIRM_WITHIN}
    assert node.files() == {**files_of(service), **others}
    assert node.leftovers() == []
    assert node.unit_property("configuration") == files_of(service)[CONFIGURATION][0].strip()
    assert node.unit_property("started") == files_of(service)[f"/etc/systemd/system/{UNIT}"][0].strip()


def test_without_a_limit_nothing_must_be_confirmed(unlimited: Node) -> None:
    assert unlimited.applied(version(2)) == "tool: restart"
    assert unlimited.timers() == []
    assert_at(unlimited, version(2))


def test_first_version_needs_no_confirmation(node: Node) -> None:
    node.applied(version(1, name="other"))
    assert node.timers() == []
    assert not node.path(CONFIRM_BY).exists()


def test_repair_and_repetition_need_no_confirmation(node: Node) -> None:
    node.path(CONFIGURATION).write_text("by hand\n")
    assert node.applied(version(1)) == "tool: restart"
    assert node.applied(version(1)) == "tool: unchanged"
    assert node.timers() == []
    assert_at(node, version(1))


def test_confirmed_change_stays(node: Node) -> None:
    node.applied(version(2))
    [timer] = node.timers()
    assert f"--on-active {LIMIT}s" in timer
    assert timer.endswith("/test/confirm return")
    accepted = node.confirm("accept")
    assert (accepted.code, accepted.output) == (0, "")
    assert node.timers() == []
    assert_at(node, version(2))
    assert node.confirm("return").code == 0
    assert_at(node, version(2))


def test_unconfirmed_change_returns(node: Node) -> None:
    node.applied(version(2, new="file"))
    expire(node)
    assert node.confirm("return").code == 0
    assert returned(node) == ["tool"]
    assert node.starts() == 3
    assert_at(node, version(1))


def test_another_version_ends_the_report(node: Node) -> None:
    node.applied(version(2))
    expire(node)
    node.confirm("return")
    assert node.applied(version(2)) == "tool: restart"
    assert returned(node) == []
    assert node.confirm("accept").code == 0
    assert_at(node, version(2))


def test_several_changes_return_to_the_version_before_all(node: Node) -> None:
    node.applied(version(2, new="file", both="two"))
    node.applied(version(3, both="three"))
    node.applied(version(4, other="file"))
    expire(node)
    assert node.confirm("return").code == 0
    assert_at(node, version(1))


def test_time_begins_again_with_each_change(node: Node) -> None:
    node.applied(version(2))
    boot = node.path(CONFIRM_BY).read_text().split()[1]
    node.path(CONFIRM_BY).write_text(f"{int(time.time()) + 100} {boot}\n")
    node.applied(version(3))
    assert int(node.path(CONFIRM_BY).read_text().split()[0]) > time.time() + 100
    # The first timer starts the next one.
    assert len(node.timers()) == 1
    assert node.confirm("return").code == 0
    assert len(node.timers()) == 2
    node.confirm("accept")
    assert_at(node, version(3))


def test_services_return_in_reverse_order(node: Node) -> None:
    for number in (1, 2):
        node.applied(version(number, name="first"))
        node.applied(version(number, name="second"))
    node.applied(version(2))
    node.applied(version(3, name="first"))
    expire(node)
    result = node.confirm("return")
    assert re.findall("(.*): the change was not confirmed", result.output) == ["first", "tool", "second"]
    assert returned(node) == ["first", "second", "tool"]
    for name in ("first", "second"):
        assert node.path(f"/etc/{name}/version").read_text() == "1\n"
        node.run("remove", name)
    assert_at(node, version(1))


def test_change_without_a_restart_returns_without_one(node: Node) -> None:
    watched = {"/etc/tool/watched": File(content="one\n", restarts=False)}
    old = replace(version(1), files={**version(1).files, **watched})
    node.applied(old)
    node.confirm("accept")
    node.applied(replace(old, files={**old.files, "/etc/tool/watched": File(content="two\n", restarts=False)}))
    expire(node)
    assert node.confirm("return").code == 0
    assert node.starts() == 1
    assert_at(node, old)


def test_reloading_service_returns_by_a_reload(node: Node) -> None:
    reloading = replace(version(1), activation="reload")
    node.applied(reloading)
    content = File(content="version: 2\nbehaviour: works\n")
    assert node.applied(replace(reloading, files={**reloading.files, CONFIGURATION: content})) == "tool: reload"
    expire(node)
    result = node.confirm("return")
    assert f"systemctl reload-or-restart {UNIT}" in result.calls
    assert node.starts() == 1
    assert_at(node, version(1))


def test_rolled_back_change_needs_no_confirmation(node: Node) -> None:
    assert node.apply(version(2, behaviour="hopeless")).code == 1
    expire(node)
    starts = node.starts()
    assert node.confirm("return").code == 0
    assert returned(node) == []
    assert node.starts() == starts
    assert_at(node, version(1))


def test_returned_version_still_keeps_the_file_of_others(node: Node) -> None:
    path = node.path(ADDED)
    path.parent.mkdir()
    path.write_text("of others\n")
    with_file = replace(version(1), files={**version(1).files, ADDED: File(content="of the lab\n")})
    node.applied(with_file)
    node.confirm("accept")
    node.applied(version(2))
    assert path.read_text() == "of others\n"
    node.applied(version(3))
    expire(node)
    assert node.confirm("return").code == 0
    assert path.read_text() == "of the lab\n"
    assert node.remove().code == 0
    assert path.read_text() == "of others\n"


def final(number: int, key: str) -> Service:
    """Return a version with a file whose change is final."""
    service = version(number)
    return replace(service, files={**service.files, ENCRYPTION_CONFIGURATION: File(content=key)})


def test_final_change_stays(node: Node) -> None:
    node.applied(final(1, "old"))
    node.confirm("accept")
    node.applied(final(2, "old"))
    node.applied(final(3, "new"))
    node.applied(final(4, "new"))
    expire(node)
    assert node.confirm("return").code == 0
    # Only the change after it is undone.
    assert node.path(ENCRYPTION_CONFIGURATION).read_text() == "new"
    assert_at(node, version(3))


def test_limit_counts_for_the_change_that_brings_or_removes_it(unlimited: Node) -> None:
    limited = replace(version(2), files={**version(2).files, CONFIRM_WITHIN: File(content=f"{LIMIT}\n")})
    unlimited.applied(limited)
    assert len(unlimited.timers()) == 1
    unlimited.confirm("accept")
    unlimited.applied(version(3))
    assert unlimited.timers() == []
    unlimited.applied(limited)
    expire(unlimited)
    assert unlimited.confirm("return").code == 0
    assert_at(unlimited, version(3))


def test_change_without_a_limit_waits_for_those_before(node: Node) -> None:
    node.applied(version(2))
    node.path(CONFIRM_WITHIN).unlink()
    node.applied(version(3, new="file"))
    expire(node)
    assert node.confirm("return").code == 0
    assert_at(node, version(1))


def test_reboot_keeps_the_deadline(node: Node) -> None:
    node.applied(version(2))
    deadline, _ = node.path(CONFIRM_BY).read_text().split()
    node.path("/test/timers").unlink()
    assert node.confirm("resume").code == 0
    assert node.timers() == []
    node.path(CONFIRM_BY).write_text(f"{deadline} another-boot\n")
    assert node.confirm("resume").code == 0
    [timer] = node.timers()
    assert 0 < int(re.findall(r"--on-active (\d+)s", timer)[0]) <= LIMIT
    assert node.path(CONFIRM_BY).read_text().split()[0] == deadline
    node.path(CONFIRM_BY).write_text("1 another-boot\n")
    node.confirm("resume")
    assert "--on-active 1s" in node.timers()[1]


def test_changes_are_refused_while_the_node_returns(node: Node) -> None:
    node.applied(version(2))
    node.path(CONFIRM_BY).write_text("0 a-boot\n")
    result = node.apply(version(3))
    assert result.code == 1
    assert "returns to the versions before at the moment" in result.error
    assert "Nothing was changed" in result.error
    assert node.confirm("accept").code == 1
    assert node.confirm("return").code == 0
    assert_at(node, version(1))


def test_extension_needs_an_unconfirmed_change(node: Node) -> None:
    assert node.confirm("extend").output == ""
    assert not node.path(CONFIRM_BY).exists()
    node.applied(version(2))
    boot = node.path(CONFIRM_BY).read_text().split()[1]
    node.path(CONFIRM_BY).write_text(f"{int(time.time()) + 5} {boot}\n")
    assert node.confirm("extend").code == 0
    assert int(node.path(CONFIRM_BY).read_text().split()[0]) > time.time() + 5


def test_removed_service_does_not_return(node: Node) -> None:
    node.applied(version(2))
    assert node.remove().code == 0
    expire(node)
    assert node.confirm("return").code == 0
    node.path(CONFIRM_WITHIN).unlink()
    node.assert_gone()


def test_version_before_that_is_not_healthy_is_named(node: Node) -> None:
    node.path("/test/rebooted").touch()
    node.applied(replace(version(1), health="[ -e /test/rebooted ] || { echo no reason; exit 3; }"))
    node.confirm("accept")
    node.applied(version(2))
    node.path("/test/rebooted").unlink()
    expire(node)
    result = node.confirm("return")
    assert "It is not healthy: no reason" in result.error
    assert returned(node) == ["tool"]


def moments(run: Run, draws: int) -> Iterator[tuple[int, str]]:
    """Draw moments at which to kill the same run."""
    every = [(call, how) for call in range(1, len(run.calls) + 1) for how in ("before", "during")]
    random.Random(SEED).shuffle(every)
    return iter(every[:draws])


def killed_change(node: Node, moment: tuple[int, str]) -> Run:
    return node.apply(version(3, new="file"), kill=moment)


def killed_return(node: Node, moment: tuple[int, str]) -> Run:
    node.applied(version(3, new="file"))
    expire(node)
    return node.confirm("return", kill=moment)


@pytest.mark.parametrize(("kill", "draws"), [(killed_change, 4), (killed_return, 6)])
def test_node_returns_after_an_interruption(
    node: Node, kill: Callable[[Node, tuple[int, str]], Run], draws: int
) -> None:
    for moment in moments(kill(node, (10_000, "before")), draws):
        if node.path(CONFIRM_BY).exists():
            expire(node)
            node.confirm("return")
        node.applied(version(1))
        node.confirm("accept")
        node.applied(version(2))
        assert kill(node, moment).killed
        if node.path(CONFIRM_BY).read_text().split()[0] != "0":
            node.path(CONFIRM_BY).write_text("1 a-boot\n")
        result = node.confirm("return")
        assert result.code == 0, result.error
        assert_at(node, version(1))


def test_killed_confirmation_can_be_repeated(node: Node) -> None:
    node.applied(version(2))
    run = node.confirm("accept")
    for moment in moments(run, 4):
        node.applied(version(1))
        node.confirm("accept")
        node.applied(version(2))
        assert node.confirm("accept", kill=moment).killed
        assert node.confirm("accept").code == 0
        if not node.path(CONFIRM_BY).exists():
            node.applied(version(3))
            expire(node)
            assert node.confirm("return").code == 0
        assert_at(node, version(2))
