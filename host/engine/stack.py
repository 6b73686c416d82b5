"""The stack: brought up, shown and taken down with the lab's own environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from host import environment
from host.access import access_files
from host.engine import stack_file
from host.libvirt.namespace import OUTSIDE
from host.workspace import Workspace
from system.console import step
from system.errors import HostError
from system.netns import NAMESPACE_VARIABLE

# The program checks the configuration itself, and reports all that is wrong at once; the engine stops at the first.
_OWN_VALIDATION = "--skip-config-validation"
_PROVIDER, _MACHINE, _COMMAND = "pulumi:providers:libvirt", "hardway:machine:Machine", "command:remote:Command"

_PATIENCE = 600  # seconds; as many VMs as a machine carries boot within that
_PAUSE = 1.0  # seconds

EXISTING = "machines that were there before"


def deployed(workspace: Workspace) -> list[str]:
    """The names of the project's stacks that have resources. The machine has to be prepared."""
    stacks = json.loads(_Commands(workspace, enters=False).output("pulumi", "stack", "ls", "--json"))
    return [stack["name"] for stack in stacks if stack.get("resourceCount")]


def carriers(workspace: Workspace, stack: str) -> set[str]:
    """What carries a stack that is deployed: the URIs of libvirt daemons, and EXISTING where it took such machines."""
    exported = _Commands(workspace, enters=False).output("pulumi", "stack", "export", "--stack", stack)
    deployment = json.loads(exported)["deployment"]
    pending = [operation["resource"] for operation in deployment.get("pending_operations") or []]
    resources = [*deployment["resources"], *pending]
    machines = {each["urn"] for each in resources if each["type"] == _MACHINE}
    # What makes a VM ready goes with its domain.
    commands = [each for each in resources if each["type"] == _COMMAND and each.get("parent") in machines]
    taken = any(not command.get("deletedWith") for command in commands)
    return {each["inputs"]["uri"] for each in resources if each["type"] == _PROVIDER} | ({EXISTING} if taken else set())


class Stack:
    """A stack of this checkout. The machine has to be prepared."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.name = name
        self._layout = workspace
        self._commands = _Commands(workspace)

    def up(self) -> None:
        """Brings the stack up, waits until its nodes are Ready, and shows them, where the cluster can be asked.

        Raises HostError where a node does not become Ready.
        """
        with step(f"Stack {self.name}"):
            self._select()
        with step("pulumi up"):
            self._run("pulumi", "up", *self._stack, "--yes", "--skip-preview", "--suppress-outputs", _OWN_VALIDATION)
        outputs = self.write_access()
        print(flush=True)
        kubeconfig = self._layout.kubeconfig(self.name)
        if kubeconfig.exists():
            self._wait_until_ready({name for name, node in outputs["nodes"].items() if "podCidr" in node})
            self._run("kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "--output=wide")
        ssh_config = _shown(self._layout.access(self.name) / "ssh_config")
        hints = (f". {_shown(self._layout.env)}", "kubectl get nodes", "pulumi preview", f"ssh -F {ssh_config} NODE")
        print("\nGo on with:", *hints, sep="\n  ", flush=True)

    def write_access(self) -> dict[str, Any]:
        """Writes what reaching the cluster and its nodes takes: kubeconfig and SSH configuration.

        `pulumi up` does so itself. This is for another checkout, and where the files were lost. Returns the outputs.
        """
        outputs = json.loads(
            self._commands.output("pulumi", "stack", "output", *self._stack, "--show-secrets", "--json")
        )
        if "nodes" not in outputs:
            raise HostError(f"Stack {self.name} has no cluster yet. Bring it up: make up STACK={self.name}")
        access_files.write(self._layout, self.name, outputs)
        return dict(outputs)

    def _wait_until_ready(self, nodes: Set[str]) -> None:
        """Returns once the nodes are Ready: where nothing was changed, nobody has looked at them.

        VMs that came back with this machine take as long as they take to boot.
        """
        deadline, told = time.monotonic() + _PATIENCE, False
        while missing := nodes - self._ready():
            if time.monotonic() > deadline:
                raise HostError(
                    f"{' and '.join(sorted(missing))} did not become Ready within {_PATIENCE} s. "
                    "`make verify` finds what is not as it was made there; then `make up` sets it right."
                )
            if not told:
                print(f"Waiting until {' and '.join(sorted(missing))} is Ready.", flush=True)
                told = True
            time.sleep(_PAUSE)

    def _ready(self) -> Set[str]:
        """The names of the nodes that are Ready; none where the API server does not answer."""
        kubeconfig = ("--kubeconfig", str(self._layout.kubeconfig(self.name)))
        answer = self._commands.answer("kubectl", *kubeconfig, "get", "nodes", "--output=json", "--request-timeout=10s")
        return {
            node["metadata"]["name"]
            for node in (json.loads(answer)["items"] if answer else ())
            for condition in node["status"].get("conditions", ())
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def preview(self) -> None:
        """Shows what `up` would do."""
        self._select()
        self._run("pulumi", "preview", *self._stack, "--diff", _OWN_VALIDATION)

    def destroy(self) -> None:
        """Takes down all that the stack made, and removes what reaching it took."""
        if self.name in deployed(self._layout):
            self._run("pulumi", "destroy", *self._stack, "--yes", "--skip-preview")
        else:
            print(f"Stack {self.name} has nothing to take down.")
        access_files.remove(self._layout, self.name)

    @property
    def _stack(self) -> tuple[str, str]:
        return "--stack", self.name

    def _select(self) -> None:
        # Once the file has the salt, the engine leaves it as it is.
        file = self._layout.stack_file(self.name)
        with stack_file.text_kept(file):
            self._run("pulumi", "stack", "select", "--create", self.name)
        if file.exists():
            stack_file.tell_git(file)

    def _run(self, *command: str) -> None:
        self._commands.run(*command)


class _Commands:
    """The commands of `.lab/bin`, run in the checkout with the environment of `.lab/env`."""

    def __init__(self, workspace: Workspace, *, enters: bool = True) -> None:
        """enters: whether a private hypervisor is entered, and started first where it doesn't run."""
        if not workspace.env.exists():
            raise HostError(f"{workspace.env} is not there. Prepare the machine first: make prepare")
        self._layout = workspace
        self._environment = environment.evaluate(workspace.env.read_text())
        if not enters:
            # As if it were inside already: the state can be read from everywhere.
            self._environment[NAMESPACE_VARIABLE] = str(workspace.hypervisor / OUTSIDE)

    def run(self, *command: str) -> None:
        """Runs the command with this process's own output. Raises HostError where it fails."""
        self._call(command, None)

    def output(self, *command: str) -> str:
        """Runs the command and returns its standard output. Raises HostError where it fails."""
        return self._call(command, subprocess.PIPE) or ""

    def answer(self, *command: str) -> str | None:
        """The standard output of a command that may fail, which then says nothing; None where it does."""
        result = subprocess.run(
            [self._layout.bin / command[0], *command[1:]],
            cwd=self._layout.checkout,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return result.stdout if result.returncode == 0 else None

    def _call(self, command: tuple[str, ...], stdout: int | None) -> str | None:
        child = subprocess.Popen(
            [self._layout.bin / command[0], *command[1:]],
            cwd=self._layout.checkout,
            env=self._environment,
            stdout=stdout,
            text=True,
        )
        with _signals_left_to(child):
            output, _ = child.communicate()
        if child.returncode != 0:
            raise HostError(f"`{' '.join(command[:2])}` failed (exit code {child.returncode}); the reason is above.")
        return output


@contextlib.contextmanager
def _signals_left_to(child: subprocess.Popen[str]) -> Iterator[None]:
    """Lets the engine end in its own way when the run is interrupted, which takes it a while: its state stays whole.

    A terminal sends SIGINT to both; a second one would make the engine give up at once, so it isn't passed on.
    """
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM)),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shown(path: Path) -> str:
    """The path as one would type it from the current directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else f"./{relative}"
