"""A Pulumi project made for a test: real programs, run by the real engine with a backend of their own."""

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
    """One run of the engine: its exit code, what a person saw, and its events."""

    code: int
    output: str
    events: list[dict[str, Any]]

    @cached_property
    def steps(self) -> list[tuple[str, str]]:
        """Operation and resource name of each step, in the order in which they began; unchanged ones are left out."""
        found = []
        for event in self.events:
            metadata = event.get("resourcePreEvent", {}).get("metadata")
            if metadata and metadata["op"] != "same":
                found.append((metadata["op"], _name(metadata["urn"])))
        return found

    def operations(self, name: str) -> list[str]:
        """The operations on the resource of that name."""
        return [operation for operation, of in self.steps if of == name]

    def messages(self, name: str, severity: str) -> str:
        """What was said about the resource of that name. severity: error, warning, info or info#err."""
        said = [event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event]
        return "\n".join(
            message["message"]
            for message in said
            if _name(message.get("urn", "")) == name
            and message["severity"] == severity
            and not message.get("ephemeral")
        )

    def error(self, name: str) -> str:
        """The error of the resource of that name, without colours."""
        return self.messages(name, "error")


class Project:
    """A project with one stack in a folder of its own."""

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        """folder is made; the programs run in the virtual environment of the tests.

        prefix: words before the command of the engine, to run it elsewhere.
        """
        self._prefix = prefix
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self._runs = 0
        self.configure(virtualenv=sys.prefix)
        self.call("stack", "init", "dev", "--no-select")

    def configure(self, **options: str) -> None:
        """Makes these the project's runtime options."""
        runtime = {"name": "python", "options": options}
        # JSON is YAML too.
        (self.folder / "Pulumi.yaml").write_text(json.dumps({"name": "test", "runtime": runtime}))

    @property
    def environment(self) -> dict[str, str]:
        """What every call of the engine has in its environment besides the tests' own."""
        return {
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            # Selecting it would be written down in PULUMI_HOME.
            "PULUMI_STACK": "dev",
            # Lets the engine take --event-log.
            "PULUMI_DEBUG_COMMANDS": "true",
        }

    def write(self, program: str, values: Mapping[str, Any] | None = None) -> None:
        """Makes this the project's program.

        It finds `values`, pulumi, command, libvirt, tls and Path in its variables.
        """
        (self.folder / "__main__.py").write_text(_PRELUDE + textwrap.dedent(program))
        (self.folder / "values.json").write_text(json.dumps(values or {}))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts `pulumi` with these arguments and more environment variables, in a process group of its own."""
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
        """Runs `pulumi` with these arguments and returns its output; fails where it does."""
        process = self.start(*arguments)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def start_run(self, *arguments: str, **environment: str) -> tuple[subprocess.Popen[str], Path]:
        """Starts `pulumi` as `start` does; the second value is the file of its events."""
        self._runs += 1
        events = self.folder / f"events-{self._runs}.json"
        return self.start(*arguments, f"--event-log={events}", **environment), events

    def finish_run(self, process: subprocess.Popen[str], events: Path) -> Run:
        """Waits for what start_run started."""
        output, _ = process.communicate()
        lines = events.read_text().splitlines() if events.exists() else []
        return Run(process.returncode, output, [json.loads(line) for line in lines])

    def run(self, *arguments: str, **environment: str) -> Run:
        """Runs `pulumi` as `start` does, whatever comes of it."""
        return self.finish_run(*self.start_run(*arguments, **environment))

    def up(self, *options: str, fails: bool = False) -> Run:
        """Brings up what the program says; `fails` where that must not succeed."""
        run = self.run("up", "--yes", "--skip-preview", *options)
        assert (run.code != 0) == fails, run.output
        return run

    def preview(self, *options: str) -> Run:
        """Previews what the program says."""
        run = self.run("preview", *options)
        assert run.code == 0, run.output
        return run

    def destroy(self) -> Run:
        """Takes everything down."""
        run = self.run("destroy", "--yes", "--skip-preview")
        assert run.code == 0, run.output
        return run

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secret ones in plain text."""
        result: dict[str, Any] = json.loads(self.call("stack", "output", "--json", "--show-secrets"))
        return result

    def export(self) -> dict[str, Any]:
        """The stack's state, secrets encrypted."""
        result: dict[str, Any] = json.loads(self.call("stack", "export"))
        return result

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Makes this the stack's state."""
        path = self.folder / "import.json"
        path.write_text(json.dumps(state))
        self.call("stack", "import", f"--file={path}")


def interrupt(process: subprocess.Popen[str]) -> None:
    """Interrupts the engine as Ctrl-C does that is seen by it alone."""
    process.send_signal(signal.SIGINT)


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]
