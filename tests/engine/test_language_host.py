"""The language host: it runs a program in Python, and its errors say what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.engine_plugins import PLUGINS
from tests.support.pulumi_project import Project, interrupt
from tests.support.waiting import wait_until


@pytest.fixture
def project(new_project: Callable[[str], Project], request: pytest.FixtureRequest) -> Project:
    """A separate project for each test."""
    return new_project(str(request.node.name))


def _failing_preview(project: Project, program: str, **environment: str) -> str:
    project.write(program)
    run = project.run("preview", **environment)
    assert run.code != 0, run.output
    return run.output


def test_program_runs_without_configuration(project: Project) -> None:
    project.write('pulumi.export("name", pulumi.Config().get("name", "not set"))')
    project.up()
    assert project.outputs() == {"name": "not set"}


def test_program_reads_configuration_and_secrets(project: Project) -> None:
    project.write(
        """
        config = pulumi.Config()
        pulumi.export("plain", config.require("plain"))
        pulumi.export("hidden", config.require_secret("hidden"))
        pulumi.export("structured", config.require_object("structured"))
        print("the program said this")
        """
    )
    project.call("config", "set", "plain", "a value")
    project.call("config", "set", "--secret", "hidden", "hush-hush-4711")
    project.call("config", "set", "--path", "structured.list[0]", "7")
    run = project.up()
    assert project.outputs() == {"plain": "a value", "hidden": "hush-hush-4711", "structured": {"list": [7]}}
    assert "the program said this" in run.output
    assert "hush-hush-4711" not in run.output
    assert "hush-hush-4711" not in json.dumps(project.export())


def test_program_knows_project_stack_and_folder(project: Project) -> None:
    project.write(
        """
        import sys
        pulumi.export("names", [pulumi.get_project(), pulumi.get_stack(), pulumi.get_organization()])
        pulumi.export("dry", pulumi.runtime.is_dry_run())
        pulumi.export("python", sys.prefix)
        pulumi.export("folder", str(Path.cwd()))
        """
    )
    project.up()
    assert project.outputs() == {
        "names": ["test", "dev", "organization"],
        "dry": False,
        "python": sys.prefix,
        "folder": str(project.folder),
    }


def test_traceback_shows_only_the_program(project: Project) -> None:
    output = _failing_preview(project, "def broken():\n    raise ValueError('what went wrong')\nbroken()")
    assert "in broken" in output
    assert "ValueError: what went wrong" in output
    assert "pulumi-language-python-exec" not in output


def test_run_error_has_no_traceback(project: Project) -> None:
    output = _failing_preview(project, "raise pulumi.RunError('a sentence')")
    assert "a sentence" in output
    assert "Traceback" not in output


def test_exit_code_of_the_program_is_shown(project: Project) -> None:
    assert "non-zero exit code: 3" in _failing_preview(project, "raise SystemExit(3)")


def test_missing_virtualenv_error_says_how_to_create_it(project: Project) -> None:
    project.configure(virtualenv="not-there")
    output = _failing_preview(project, "")
    assert "not-there" in output
    assert "-m venv" in output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("toolchain", "conda", 'toolchain in Pulumi.yaml is "conda"; allowed: pip, poetry, uv'),
        ("typechecker", "pytype", 'typechecker in Pulumi.yaml is "pytype"; allowed: mypy, pyright, none'),
        ("virtualenf", ".venv", 'unknown runtime option "virtualenf" in Pulumi.yaml'),
    ],
)
def test_wrong_runtime_option_error_lists_allowed_values(
    project: Project, option: str, value: str, message: str
) -> None:
    project.configure(**{option: value})
    assert message in _failing_preview(project, "")


def test_typechecker_errors_stop_the_program(project: Project) -> None:
    project.configure(virtualenv=sys.prefix, typechecker="mypy")
    output = _failing_preview(project, "number: int = 'text'\nprint('it ran')")
    assert "Incompatible types in assignment" in output
    assert "it ran" not in output


def test_missing_plugin_error_names_the_version(project: Project, tmp_path: Path) -> None:
    output = _failing_preview(
        project,
        'command.local.Command("any", create="true")',
        PULUMI_HOME=str(tmp_path),
        PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION="true",
    )
    assert (
        f"no resource plugin 'pulumi-resource-command' found in the workspace at version v{PLUGINS['command']}"
        in output
    )


def test_installed_plugins_are_not_downloaded_again(project: Project) -> None:
    project.write("")
    output = project.call("install", "--no-dependencies")
    assert "download" not in output.lower()
    assert "installing" not in output.lower()


def test_about_lists_python_packages_and_plugins(project: Project) -> None:
    project.write("")
    about = json.loads(project.call("about", "--json"))
    plugins = {plugin["name"]: plugin["version"] for plugin in about["plugins"] if plugin["name"] != "python"}
    assert plugins == PLUGINS
    assert about["runtime"]["executable"].startswith(sys.prefix)
    assert "pulumi-command" in {dependency["name"].replace("_", "-") for dependency in about["dependencies"]}


def test_interrupt_ends_the_program(project: Project, tmp_path: Path) -> None:
    project.write(f"import os, time\nPath({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)")
    process, events = project.start_run("preview")
    wait_until(
        lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "",
        "the program runs",
        lambda: process.poll() is not None,
    )
    interrupt(process)
    run = project.finish_run(process, events)
    assert run.code != 0
    assert "Traceback" not in run.output
    pid = (tmp_path / "pid").read_text()
    wait_until(lambda: not Path("/proc", pid).exists(), "the program has ended")
