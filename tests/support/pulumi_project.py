"""A Pulumi project for a test. The real engine runs its program, with a separate backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_PRELUDE = """\
import json
from pathlib import Path

import pulumi
import pulumi_command as command
import pulumi_libvirt as libvirt
import pulumi_tls as tls

values = json.loads(Path("values.json").read_text())
"""


@dataclass(frozen=True)
class Run:
    """One run of the engine: its exit code, its output and its events."""

    code: int
    output: str
    events: list[dict[str, Any]]

    @cached_property
    def steps(self) -> list[tuple[str, str]]:
        """Operation and resource name of each step in their order, without unchanged resources."""
        steps = []
        for event in self.events:
            metadata = event.get("resourcePreEvent", {}).get("metadata")
            if metadata and metadata["op"] != "same":
                steps.append((metadata["op"], _name(metadata["urn"])))
        return steps

    def operations(self, name: str) -> list[str]:
        """Return the operations on the resource with the given name."""
        return [operation for operation, resource in self.steps if resource == name]

    def messages(self, name: str, severity: str) -> str:
        """Return the messages about the resource with the given name.

        Args:
            name: The resource's name.
            severity: One of error, warning, info and info#err.
        """
        diagnostics = [event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event]
        return "\n".join(
            message["message"]
            for message in diagnostics
            if _name(message.get("urn", "")) == name
            and message["severity"] == severity
            and not message.get("ephemeral")
        )

    def error(self, name: str) -> str:
        """Return the error of the resource with the given name."""
        return self.messages(name, "error")


class Project:
    """A project with one stack in a separate folder."""

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        """Create the project. Its programs run in the virtual environment of the tests.

        Args:
            folder: Created with the project's files.
            prefix: Words before each command of the engine, for example to run it in a namespace.
        """
        self._prefix = prefix
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self._runs = 0
        self.configure(virtualenv=sys.prefix)
        self.call("stack", "init", "dev", "--no-select")

    def configure(self, **options: str) -> None:
        """Set the project's runtime options."""
        runtime = {"name": "python", "options": options}
        # JSON is YAML too.
        (self.folder / "Pulumi.yaml").write_text(json.dumps({"name": "test", "runtime": runtime}))

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of every call of the engine, in addition to those of the tests."""
        return {
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            # `pulumi stack select` would record the selection in PULUMI_HOME.
            "PULUMI_STACK": "dev",
            # Without it, the engine does not accept --event-log.
            "PULUMI_DEBUG_COMMANDS": "true",
        }

    def write(self, program: str, values: Mapping[str, Any] | None = None) -> None:
        """Set the project's program.

        Args:
            program: Python code. It can use `values`, pulumi, command, libvirt, tls and Path.
            values: The content of the program's variable `values`.
        """
        (self.folder / "__main__.py").write_text(_PRELUDE + textwrap.dedent(program))
        (self.folder / "values.json").write_text(json.dumps(values or {}))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `pulumi` in a separate process group, with additional environment variables."""
        return subprocess.Popen(
            [*self._prefix, "pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=self.folder,
            env=os.environ | self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def call(self, *arguments: str) -> str:
        """Run `pulumi` and return its output. The run must succeed."""
        process = self.start(*arguments)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def start_run(self, *arguments: str, **environment: str) -> tuple[subprocess.Popen[str], Path]:
        """Start `pulumi` as `start` does, and return the process and the file of its events."""
        self._runs += 1
        events = self.folder / f"events-{self._runs}.json"
        return self.start(*arguments, f"--event-log={events}", **environment), events

    def finish_run(self, process: subprocess.Popen[str], events: Path) -> Run:
        """Wait for a run that `start_run` started."""
        output, _ = process.communicate()
        lines = events.read_text().splitlines() if events.exists() else []
        return Run(process.returncode, output, [json.loads(line) for line in lines])

    def run(self, *arguments: str, **environment: str) -> Run:
        """Run `pulumi` as `start` does. The run may fail."""
        return self.finish_run(*self.start_run(*arguments, **environment))

    def up(self, *options: str, fails: bool = False) -> Run:
        """Run `pulumi up`. It must succeed, or fail if `fails` is set."""
        run = self.run("up", "--yes", "--skip-preview", *options)
        assert (run.code != 0) == fails, run.output
        return run

    def preview(self, *options: str) -> Run:
        """Run `pulumi preview`. It must succeed."""
        run = self.run("preview", *options)
        assert run.code == 0, run.output
        return run

    def destroy(self) -> Run:
        """Run `pulumi destroy`. It must succeed."""
        run = self.run("destroy", "--yes", "--skip-preview")
        assert run.code == 0, run.output
        return run

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs, with secrets in plain text."""
        result: dict[str, Any] = json.loads(self.call("stack", "output", "--json", "--show-secrets"))
        return result

    def export(self) -> dict[str, Any]:
        """Return the stack's state, with encrypted secrets."""
        result: dict[str, Any] = json.loads(self.call("stack", "export"))
        return result

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Replace the stack's state."""
        path = self.folder / "import.json"
        path.write_text(json.dumps(state))
        self.call("stack", "import", f"--file={path}")


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send the engine, but none of its children, the signal of Ctrl-C."""
    process.send_signal(signal.SIGINT)


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]
