"""A stack: bring it up, show it and delete it, in the lab's environment."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from host import environment
from host.access import access_files
from host.access.access_files import AccessDetails
from host.engine import confirmation, history, lost, progress, rollback, shared, stack_file
from host.engine.certificates import renewable
from host.engine.drift import adopt_drift, deployed_drift
from host.engine.history import Update
from host.engine.rollback import FAILURE_HANDLED_VARIABLE, ROLLBACK_VARIABLE
from host.engine.waits import Waits
from host.libvirt.namespace import MACHINE_NETWORK
from host.libvirt.private import BOOT_VARIABLE, namespace_start
from host.workspace import PROJECT, Workspace, command_line, short_stack_name
from lab.outputs import StackOutputs
from system import console
from system.commands import attempt
from system.console import Steps
from system.errors import HostError
from system.files import temporary_file
from system.netns import NAMESPACE_VARIABLE

# The program checks the configuration and reports all errors at once. The engine stops at the first one.
SKIP_VALIDATION = "--skip-config-validation"
"""The option of the engine's commands for that."""
LIMIT_CHECKED_VARIABLE = "HARDWAY_LIMIT_CHECKED"
"""If it is set, the Pulumi program does not compare a change with `maxDisruption`, because `hardway` does.

A program can only refuse one change after the other, so its preview would not show all of them.
"""
_PROVIDER, MACHINE, _COMMAND = "pulumi:providers:libvirt", "hardway:machine:Machine", "command:remote:Command"

EXISTING_MACHINES = "existing machines"


class InterruptedRunError(HostError):
    """A person interrupted the engine."""


@contextlib.contextmanager
def _event_log() -> Iterator[Path]:
    """Yield the path of a file for the engine's events, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hardway-events-") as folder:
        yield Path(folder) / "events"


def deployed(workspace: Workspace) -> list[str]:
    """Return the names of the project's stacks that have resources. The machine must be prepared."""
    stacks = json.loads(_Commands(workspace, enters=False).output("pulumi", "stack", "ls", "--json"))
    return [stack["name"].rpartition("/")[2] for stack in stacks if stack.get("resourceCount")]


def deployment_of(workspace: Workspace, stack: str) -> Mapping[str, Any]:
    """Return the deployment of a stack, as `pulumi stack export` prints it. Empty if it has no resources."""
    exported = _Commands(workspace, enters=False).output("pulumi", "stack", "export", "--stack", stack)
    deployment: Mapping[str, Any] = json.loads(exported).get("deployment") or {}
    return deployment


def locations(workspace: Workspace, stack: str) -> set[str]:
    """Return the places of a deployed stack's nodes: URIs of libvirt daemons, and EXISTING_MACHINES if it uses any."""
    deployment = deployment_of(workspace, stack)
    pending = [operation["resource"] for operation in deployment.get("pending_operations") or []]
    resources = [*deployment["resources"], *pending]
    machines = {each["urn"] for each in resources if each["type"] == MACHINE}
    # Commands that set up a VM are deleted with its domain. Commands on an existing machine are not.
    commands = [each for each in resources if each["type"] == _COMMAND and each.get("parent") in machines]
    uses_machines = any(not command.get("deletedWith") for command in commands)
    uris = {each["inputs"]["uri"] for each in resources if each["type"] == _PROVIDER}
    return uris | ({EXISTING_MACHINES} if uses_machines else set())


def refuse_locked(workspace: Workspace, stack: str) -> None:
    """Refuse to continue while an engine works on a stack in another backend.

    Raises:
        HostError: One does.
    """
    if environment.shared_backend(workspace):
        engine = _Commands(workspace, enters=False).attempt
        if holders := shared.lock_holders(engine, stack):
            raise HostError(shared.refusal(stack, holders))


class Stack:
    """A stack of this checkout. The machine must be prepared.

    Attributes:
        name: Short name of the stack.
    """

    UP_STEPS = 3
    """Number of steps of `up`."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.name = short_stack_name(name)
        self._workspace = workspace
        self._commands = _Commands(workspace)

    def up(self, steps: Steps | None = None, renew: Sequence[str] | None = None) -> None:
        """Bring the stack up, wait until its nodes are Ready, and show them if the cluster can be queried.

        Args:
            steps: The steps of the whole command. Default: only those of this function.
            renew: The certificates to renew: see `renewal`.

        Raises:
            HostError: The engine fails, or a node does not become Ready.
        """
        steps = steps or Steps(self.UP_STEPS)
        with steps.step(f"Stack {self.name}"):
            self.select()
            self._take_turn()
            self._forget_lost_vms()
            renewal = self.renewal(renew)
            rolls_back = self._rolls_back()
            # In another backend, this also keeps the configuration for a later `hardway rollback`.
            earlier = self._updates() if rolls_back or self._backend else []
        try:
            with _event_log() as events:
                if rolls_back:
                    self._bring_up_or_roll_back(steps, renewal, events, earlier)
                else:
                    self._bring_up(steps, "pulumi up", renewal, events)
        except HostError:
            self._warn_of_return()
            raise
        ssh_config = _relative(self._workspace.access(self.name) / "ssh_config")
        hints = (f". {_relative(self._workspace.env)}", "hardway status", "kubectl get nodes", "hardway preview")
        if console.verbosity() is not console.Verbosity.QUIET:
            print("\nNext commands:", *hints, f"ssh -F {ssh_config} NODE", sep="\n  ", flush=True)

    def roll_back(self) -> None:
        """Return to the configuration of the last successful update. The stack file stays as it is.

        Raises:
            HostError: There is none, the engine fails, or a node does not become Ready.
        """
        before = history.last_successful(self._updates())
        if before is None:
            raise HostError(f"Stack {self.name} has no successful update to which it could return.")
        if before.configuration is None:
            raise HostError(
                f"This checkout does not know {before}, because another one changed the stack next. Roll back there, "
                f"or correct {self._workspace.stack_file(self.name).name} and run {command_line('up', self.name)}."
            )
        self._return_to(before)
        console.say(f"Stack {self.name} has {before} again. {self._file_differs}")

    def confirm(self) -> None:
        """Confirm the changes of the last update, so that no node returns to the versions before.

        Raises:
            HostError: A node did not confirm, or had returned before.
        """
        if not confirmation.accept(self._workspace, self.name):
            console.note(f"Stack {self.name} has no changes to confirm.")

    def write_access(self) -> StackOutputs[str]:
        """Write the kubeconfig and the SSH configuration.

        `pulumi up` writes them, too. This is for another checkout, or if the files were lost.

        Returns:
            The stack's outputs, including secrets.

        Raises:
            HostError: The stack has no cluster yet.
        """
        return self._write_access(self._outputs())

    def preview(self, renew: Sequence[str] | None = None) -> None:
        """Show what `up` would change.

        Args:
            renew: The certificates to renew: see `renewal`.
        """
        self.select()
        self._commands.run("pulumi", "preview", *self._stack, "--diff", SKIP_VALIDATION, *self.renewal(renew))

    def renewal(self, nodes: Sequence[str] | None) -> list[str]:
        """Return the options with which the engine renews certificates.

        Args:
            nodes: None for no certificate, empty for all that the lab has signed, otherwise nodes: for those that only
                one of them has.

        Raises:
            HostError: There is no such certificate.
        """
        if nodes is None:
            return []
        deployment = deployment_of(self._workspace, self.name)
        return [word for urn in renewable(deployment, nodes) for word in ("--replace", urn)]

    def select(self) -> None:
        """Select the stack for `pulumi`, and create it if it does not exist."""
        # Once the file has the salt, the engine does not write it again.
        file = self._workspace.stack_file(self.name)
        with stack_file.text_kept(file):
            # The result of `preview --json` is on standard output.
            self._commands.change("pulumi", "stack", "select", "--create", self.name, on_stderr=True)
            if self._backend:
                self._join()
                shared.check_stack_file(self._commands.attempt, self.name, file)
        if file.exists():
            stack_file.tell_git(file)

    def destroy(self) -> None:
        """Delete everything that the stack created, and the files to reach it."""
        if self.name in deployed(self._workspace):
            self._take_turn()
            hosts = locations(self._workspace, self.name) - {EXISTING_MACHINES}
            # A host that does not answer keeps only its own VMs.
            options = ("--continue-on-error",) if len(hosts) > 1 else ()
            self._commands.change("pulumi", "destroy", *self._stack, "--yes", "--skip-preview", *options)
        else:
            console.note(f"Stack {self.name} has no resources to delete.")
        access_files.remove(self._workspace, self.name)

    def wait_for_clocks(self) -> None:
        """Wait until the clocks of all nodes are right, which stood still while their VMs were stopped.

        Raises:
            HostError: A clock is still wrong after the time limit, or a node does not tell its time.
        """
        self._waits(self.write_access()).for_clocks()

    def wait_until_awake(self, since: float) -> None:
        """Wait until stopped nodes are back: their clocks are right, they are Ready, and their kubelets report again.

        Args:
            since: Time when the VMs continued, in seconds since the epoch. What the API server knew before does not
                count.

        Raises:
            HostError: Something is missing after the time limit.
        """
        outputs = self.write_access()
        waits = self._waits(outputs)
        waits.for_clocks()
        if outputs.kubeconfig is not None:
            waits.for_reports(since)

    def restore_machine_network(self) -> None:
        """Create again what the lab adds to the network of this machine, if it was lost with its network namespace.

        The stack file may have been edited since the last update, so the configuration of that update counts, if it is
        known.
        """
        private = self._workspace.hypervisor
        started = namespace_start(private if private.exists() else None)
        lost = [
            resource["urn"]
            for resource in deployment_of(self._workspace, self.name).get("resources", ())
            if (resource.get("inputs", {}).get("environment") or {}).get(BOOT_VARIABLE, started) != started
        ]
        if not lost:
            return
        before = None
        if environment.keeps_state(self._workspace):
            before = history.last_successful(history.updates(self._workspace, self.name))
        configuration, variables = self._as_in(before) if before else ([], {})
        options = ("--yes", "--skip-preview", "--suppress-outputs", SKIP_VALIDATION, *configuration)
        targets = (f"--target={urn}" for urn in lost)
        self._commands.change("pulumi", "up", *self._stack, *options, *targets, variables=variables)

    def export_state(self) -> str:
        """Return the state of the stack, as `pulumi stack export` prints it. Secrets in it are encrypted."""
        return self._commands.output("pulumi", "stack", "export", *self._stack)

    def import_state(self, file: Path) -> None:
        """Replace the state of the stack by an exported one."""
        self._commands.change("pulumi", "stack", "import", *self._stack, f"--file={file}")

    def _bring_up(
        self,
        steps: Steps,
        title: str,
        options: Sequence[str],
        events: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run `pulumi up`, wait until the nodes are Ready, confirm the change on them if necessary, and show them.

        Args:
            steps: Two more steps.
            title: Title of the first step.
            options: Further options of the engine.
            events: File to which the engine writes its events.
            variables: Further environment variables of the engine.
        """
        with steps.step(title), progress.shown(events):
            self._commands.change(
                *("pulumi", "up", *self._stack, "--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress"),
                *(SKIP_VALIDATION, *options, "--event-log", str(events)),
                variables=variables,
            )
        outputs = self.write_access()
        if outputs.kubeconfig is not None:
            with steps.step("Nodes"):
                self._waits(outputs).for_ready_nodes()
                confirmation.accept(self._workspace, self.name)
            with temporary_file(outputs.kubeconfig) as kubeconfig:
                self._commands.run("kubectl", "--kubeconfig", kubeconfig, "get", "nodes", "--output=wide")
        else:
            steps.skip("Nodes", "the stack has no administrator of its cluster")
            confirmation.accept(self._workspace, self.name)

    def _warn_of_return(self) -> None:
        """Warn that nodes return by themselves, unless everything is confirmed."""
        if changes := confirmation.recorded(self._workspace, self.name):
            console.warn(
                f"A node whose changes are not confirmed returns to the versions before, {changes.limit} s after the "
                f"last change. {command_line('confirm', self.name)} keeps the changes."
            )

    def _forget_lost_vms(self) -> None:
        """Have the engine forget the VMs that somebody deleted. It would not notice that, and create them again.

        Raises:
            HostError: libvirt does not answer, or the network of the VMs is lost.
        """
        if not access_files.written_nodes(self._workspace, self.name):
            return  # The lab was never up, so a part of it is at most unfinished.
        deployment, virsh = deployment_of(self._workspace, self.name), self._workspace.bin / "virsh"
        if networks := lost.lost_networks(deployment, virsh):
            raise HostError(
                f"Network {' and '.join(networks)} does not exist in libvirt any more, so the VMs are disconnected. "
                "Define it again if you have its definition. Otherwise delete the lab and create it again: "
                f"{command_line('destroy', self.name)}, then {command_line('up', self.name)}. Nothing was changed."
            )
        for vm in lost.lost_vms(deployment, virsh):
            console.warn(f"{vm}.")
            options = ("--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress")
            targets = (f"--target={urn}" for urn in vm.urns)
            self._commands.change("pulumi", "refresh", *self._stack, *options, *targets)

    def _rolls_back(self) -> bool:
        """Return True if the stack sets `onFailure: rollback`. Only the engine has a parser of stack files here."""
        file = self._workspace.stack_file(self.name)
        if not file.exists() or "onFailure" not in file.read_text(encoding="utf-8"):
            return False
        answer = self._commands.attempt("pulumi", "config", "get", f"{PROJECT}:onFailure", *self._stack)
        return answer.stdout.strip() == "rollback"

    @property
    def _backend(self) -> str:
        """URL of the backend elsewhere that other checkouts may use, too; empty for the one of this checkout."""
        return environment.shared_backend(self._workspace)

    def _updates(self) -> list[Update]:
        """Return the updates of the stack, the latest first.

        Raises:
            HostError: The backend has no record of them that can be read here.
        """
        if self._backend:
            return shared.updates(self._workspace, self._commands.attempt, self.name)
        if environment.keeps_state(self._workspace):
            return list(history.updates(self._workspace, self.name))
        raise HostError(
            "A rollback needs the record of earlier updates, and your Pulumi settings keep the state elsewhere, in a "
            f"service or a backend that only a login names. Remove {PROJECT}:onFailure, or name a backend by "
            "PULUMI_BACKEND_URL: see docs/operations.md, State that a team shares."
        )

    def _outputs(self) -> Mapping[str, Any]:
        """Return the outputs of the stack, including secrets.

        Raises:
            HostError: They cannot be read.
        """
        if self._backend:
            return shared.outputs(self._commands.attempt, environment.without_credentials(self._backend), self.name)
        output = self._commands.output("pulumi", "stack", "output", *self._stack, "--show-secrets", "--json")
        values: Mapping[str, Any] = json.loads(output)
        return values

    def _write_access(self, values: Mapping[str, Any]) -> StackOutputs[str]:
        if "nodes" not in values:
            raise HostError(f"Stack {self.name} has no cluster yet. Bring it up: {command_line('up', self.name)}")
        outputs = StackOutputs.from_dict(values)
        access_files.write(self._workspace, self.name, AccessDetails.from_outputs(outputs))
        if self._backend:
            adopt_drift(self.name, deployed_drift(deployment_of(self._workspace, self.name)))
        return outputs

    def _join(self) -> None:
        """Bring the files of this checkout up to date with a stack that another one may have changed or deleted.

        The Pulumi program reads them to find out which nodes exist, and what was repaired.

        Raises:
            HostError: The passphrase does not open the state of the stack.
        """
        values = self._outputs()
        if "nodes" in values:
            self._write_access(values)
        elif not deployment_of(self._workspace, self.name).get("resources"):
            access_files.remove(self._workspace, self.name)

    def _take_turn(self) -> None:
        """Make sure that no other checkout changes the stack, and remove what a killed engine left.

        Does nothing for the backend of the checkout, where engine.sh does it.

        Raises:
            HostError: Another engine works on the stack, or its VMs cannot be reached from here.
        """
        if not self._backend:
            return
        programs = self._workspace.bin
        if networks := lost.lost_networks(deployment_of(self._workspace, self.name), programs / "virsh"):
            raise HostError(
                f"Network {' and '.join(networks)} of stack {self.name} is not in the libvirt that this checkout "
                "reaches: the VMs are on another machine, or in the private libvirt of another checkout. Change the "
                f"stack there. If somebody has deleted the network, `.lab/bin/pulumi destroy --stack {self.name}` "
                "deletes the rest. Nothing was changed."
            )
        if shared.take_turn(self._workspace, self._commands.attempt, self.name):
            checkout = str(self._workspace.checkout)
            self._commands.change(
                *("in-lab", str(programs / "hardway"), "recover", checkout, str(programs / "pulumi")),
                *("--shared", *self._stack),
            )

    def _bring_up_or_roll_back(
        self, steps: Steps, options: Sequence[str], events: Path, earlier: Sequence[Update]
    ) -> None:
        """Do `_bring_up`. If that fails, return to the configuration of the last successful of the earlier updates.

        Raises:
            HostError: It failed, whether it was rolled back or not.
        """
        latest, before = next(iter(earlier), None), history.last_successful(earlier)
        try:
            self._bring_up(steps, "pulumi up", options, events)
            return
        except HostError as error:
            outcome, failure = rollback.read_events(events), error
        problem = f"{outcome.failed} failed: {failure}" if outcome.failed else str(failure)
        change = next(iter(self._updates()), None)
        if not outcome.has_changed:
            reason = "nothing else was changed"
        elif before is None:
            reason = "no update succeeded before"
        elif before.configuration is None:
            reason = f"{before} is not known in this checkout"
        elif change is not None and change != latest and change.configuration == before.configuration:
            reason = "the configuration is that of the last successful update"
        elif isinstance(failure, InterruptedRunError):
            reason = (
                f"you interrupted it. {command_line('up', self.name)} continues, and "
                f"{command_line('rollback', self.name)} returns to {before}"
            )
        else:
            console.warn(f"{problem} Everything that has changed is rolled back to {before}.")
            self._return_to(before)
            raise HostError(f"{problem} Everything was rolled back: the lab has {before} again. {self._file_differs}")
        raise HostError(f"{problem} Nothing was rolled back, because {reason}.")

    def _return_to(self, before: Update) -> None:
        """Bring up the configuration of an earlier update.

        Raises:
            HostError: The engine fails, or a node does not become Ready.
        """
        self._take_turn()
        if files := rollback.changed_files(self._workspace.checkout, before):
            console.warn(f"These files differ from the commit of that update, and are used as they are now: {files}")
        options, variables = self._as_in(before)
        try:
            with _event_log() as events:
                self._bring_up(Steps(2), "Rollback", options, events, variables)
        except HostError as error:
            raise HostError(
                f"The rollback to {before} is not complete: {error} {command_line('preview', self.name)} shows what "
                f"the nodes lack of the stack file. {command_line('rollback', self.name)} tries again."
            ) from None

    def _as_in(self, before: Update) -> tuple[list[str], dict[str, str]]:
        """Return the options and variables of the engine for the configuration of an earlier update."""
        file = self._workspace.previous_configuration(self.name)
        rollback.write_configuration(file, before)
        return ["--config-file", str(file)], {ROLLBACK_VARIABLE: str(file)}

    @property
    def _file_differs(self) -> str:
        return (
            f"{self._workspace.stack_file(self.name).name} still has the change: correct it. "
            f"{command_line('preview', self.name)} shows what it would do."
        )

    def _waits(self, outputs: StackOutputs[str]) -> Waits:
        return Waits(workspace=self._workspace, stack=self.name, outputs=outputs, attempt=self._commands.attempt)

    @property
    def _stack(self) -> tuple[str, str]:
        return "--stack", self.name


class _Commands:
    """The commands of `.lab/bin`, run in the checkout with the environment of `.lab/env`."""

    def __init__(self, workspace: Workspace, *, enters: bool = True) -> None:
        """Read the environment.

        Args:
            workspace: The checkout.
            enters: True if commands enter the namespaces of a private libvirt, which is started first if necessary.
        """
        if not workspace.env.exists():
            raise HostError(f"{workspace.env} does not exist. Prepare this machine first: make prepare")
        self._workspace = workspace
        self._environment = environment.evaluate(workspace.env.read_text()) | {
            LIMIT_CHECKED_VARIABLE: "1",
            # Without it, the engine does not accept --event-log.
            "PULUMI_DEBUG_COMMANDS": "true",
            FAILURE_HANDLED_VARIABLE: "1",
        }
        if not enters:
            # Pretend to be inside already: the state can be read from everywhere.
            self._environment[NAMESPACE_VARIABLE] = str(workspace.hypervisor / MACHINE_NETWORK)

    def run(self, *command: str) -> None:
        """Run a command with this process's own output.

        Raises:
            HostError: The command fails.
        """
        self._call(command, None)

    def change(self, *command: str, on_stderr: bool = False, variables: Mapping[str, str] | None = None) -> None:
        """Run a command whose output is progress. With `--quiet` it appears only if the command fails.

        On a terminal, it appears above the bars, if there are any.

        Args:
            command: The command.
            on_stderr: Print its output on standard error.
            variables: Further environment variables.

        Raises:
            HostError: The command fails.
        """
        is_quiet = console.verbosity() is console.Verbosity.QUIET
        self._call(command, subprocess.PIPE if is_quiet else 2 if on_stderr else None, variables, is_progress=True)

    def output(self, *command: str) -> str:
        """Run a command and return its standard output.

        Raises:
            HostError: The command fails.
        """
        return self._call(command, subprocess.PIPE) or ""

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail, and print nothing."""
        return attempt(
            [self._workspace.bin / command[0], *command[1:]],
            folder=self._workspace.checkout,
            environment=self._environment,
        )

    def _call(
        self,
        command: tuple[str, ...],
        stdout: int | None,
        variables: Mapping[str, str] | None = None,
        *,
        is_progress: bool = False,
    ) -> str | None:
        console.detail(shlex.join(command))
        above_bars = is_progress and console.shows_bars()
        child = subprocess.Popen(
            [self._workspace.bin / command[0], *command[1:]],
            cwd=self._workspace.checkout,
            env={**self._environment, **(variables or {})},
            stdout=subprocess.PIPE if above_bars else stdout,
            stderr=subprocess.STDOUT if above_bars else None,
            text=True,
        )
        with _signals_left_to(child) as received:
            if above_bars:
                for line in child.stdout or ():
                    console.warn(line.rstrip("\n"))
            output, _ = child.communicate()
        if child.returncode != 0:
            if is_progress and output:
                console.warn(output.rstrip())
            error = InterruptedRunError if received else HostError
            raise error(f"`{' '.join(command[:2])}` failed (exit code {child.returncode}); the reason is above.")
        return output


@contextlib.contextmanager
def _signals_left_to(child: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Let the engine finish by itself when this run is interrupted, so that its state stays complete.

    A terminal sends SIGINT to both processes. A second SIGINT would make the engine give up, so it is not forwarded.

    Yields:
        The signals that this process has received.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            child.send_signal(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _relative(path: Path) -> str:
    """Return the path as a user would type it in the current folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else f"./{relative}"
