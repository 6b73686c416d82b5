"""A lab as a user has it: a fresh clone, the command `hardway`, and the programs of `.lab/env`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from host import environment
from host.engine.stack_file import forget_salts
from host.libvirt.private import PrivateLibvirt, sweep
from host.workspace import Workspace
from system.files import CHECKOUT

TIMEOUT = 900
"""Seconds after which `wait_for` gives up. It is much longer than anything takes: no test measures by it."""
CLOCK_TOLERANCE = 2
"""Seconds by which the clock of a node may differ from that of this machine, in addition to the time of the query."""

UNITS = (
    "containerd",
    "kubelet",
    "kube-proxy",
    "kube-network-policies",
    "node-setup",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "addons",
    "encryption",
    "bootstrap-tokens",
    "haproxy",
    "keepalived",
)
"""The systemd units of all services."""

ADDONS = ("coredns", "metrics-server", "local-path-provisioner")
"""The Deployments of the add-ons that every lab has."""

Service = tuple[str, str]
"""A node's name and a service's name."""


@dataclass(frozen=True)
class Outcome:
    """The result of a command.

    Attributes:
        stdout: The standard output.
        stderr: The standard error.
        exit_code: The exit code.
    """

    stdout: str
    stderr: str
    exit_code: int

    @property
    def output(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + self.stderr

    @property
    def succeeded(self) -> bool:
        """True if the exit code is 0."""
        return self.exit_code == 0


class RunningLab:
    """A stack of a clone of this checkout, which has a private hypervisor. The lab is not up yet.

    Attributes:
        checkout: The folder of the clone.
        stack: The name of the stack.
        workspace: The places in the clone.
        stack_file: The configuration of the stack.
        printed: Everything that commands have printed so far.
    """

    def __init__(self, folder: Path, stack: str = "dev") -> None:
        self.checkout = folder
        self.stack = stack
        self.workspace = Workspace(folder)
        self.stack_file = self.workspace.stack_file(stack)
        self.printed: list[str] = []

    @classmethod
    def clone(cls, parent: Path, stack: str = "dev") -> RunningLab:
        """Copy the files that Git tracks or would add into a new folder, and start its hypervisor.

        Labs that an earlier, killed run left in the same place are removed first.

        Args:
            parent: The folder in which to create the clone.
            stack: The stack to run.
        """
        parent.mkdir(parents=True, exist_ok=True)
        for abandoned in parent.iterdir():
            sweep(abandoned / ".lab")
            if not PrivateLibvirt(abandoned / ".lab" / "hypervisor").running():
                shutil.rmtree(abandoned)
        folder = parent / str(os.getpid())
        folder.mkdir()
        listed = _run(["git", "ls-files", "-coz", "--exclude-standard"], CHECKOUT).stdout
        for name in filter(None, listed.split("\0")):
            if (CHECKOUT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, folder / name)
        # If a lab is up in this checkout, its stack files hold encryption salts that Git does not have.
        forget_salts(folder)
        for command in ("init --quiet", "add --all", "-c user.name=e2e -c user.email=e2e commit --quiet -m clone"):
            _run(["git", *command.split()], folder)
        lab = cls(folder, stack)
        lab.workspace.lab.mkdir()
        PrivateLibvirt(lab.workspace.hypervisor).start(owner=os.getpid())
        return lab

    def purge(self) -> None:
        """End all processes in the clone's namespaces and remove the clone."""
        PrivateLibvirt(self.workspace.hypervisor).purge()
        shutil.rmtree(self.checkout)

    def make(self, target: str) -> Outcome:
        """Run a target of the Makefile for this stack."""
        return self._user_command("make", target, f"STACK={self.stack}")

    def hardway(self, command: str, *arguments: str) -> Outcome:
        """Run a command of `hardway` for this stack, in the environment of a new shell."""
        return self._user_command("python3", "-m", "hardway", command, "--stack", self.stack, *arguments)

    def succeed(self, command: str, *arguments: str) -> str:
        """Run a command of `hardway` that must succeed, and return its output."""
        outcome = self.hardway(command, *arguments)
        assert outcome.succeeded, f"hardway {command} ended with {outcome.exit_code}:\n{outcome.output}"
        return outcome.output

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of sh in the clone, in the environment of a new shell."""
        result = _run(["sh", "-c", script], self.checkout, check=False)
        self.printed += [result.stdout, result.stderr]
        return result

    def _user_command(self, *command: str) -> Outcome:
        result = _run([*command], self.checkout, check=False)
        self.printed += [result.stdout, result.stderr]
        return _outcome(result)

    def run(
        self, *command: str, check: bool = True, stdin: str = "", record: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the environment of `.lab/env`: pulumi, kubectl, virsh, in-lab …, ssh.

        Args:
            command: The argument vector, which may start with variables to set.
            check: Fail if the exit code is not 0.
            stdin: The standard input.
            record: Add the output to `printed`. False for commands that must print secrets.
        """
        result = _run(["env", *command], self.checkout, self.environment, check, stdin)
        if record:
            self.printed += [result.stdout, result.stderr]
        return result

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in the environment of `.lab/env` without waiting for it."""
        return subprocess.Popen(
            ["env", *command],
            cwd=self.checkout,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of a shell after `. ./.lab/env`."""
        return environment.evaluate(self.workspace.env.read_text())

    def up(self, *options: str) -> Outcome:
        """Run `pulumi up` without asking."""
        arguments = ("up", "--stack", self.stack, "--yes", "--skip-preview", "--non-interactive", *options)
        return _outcome(self.run("pulumi", *arguments, check=False))

    def preview(self) -> str:
        """Return the output of `pulumi preview --diff`: the diff and the messages of the program."""
        result = self.run("pulumi", "preview", "--stack", self.stack, "--diff", "--non-interactive")
        return result.stdout + result.stderr

    def planned(self) -> dict[str, set[str]]:
        """Return the names of the resources by the operation of `pulumi preview` on them, without `same`."""
        document = json.loads(
            self.run("pulumi", "preview", "--stack", self.stack, "--json", "--non-interactive").stdout
        )
        operations: dict[str, set[str]] = {}
        for step in document["steps"]:
            if step["op"] != "same":
                operations.setdefault(step["op"], set()).add(step["urn"].rpartition("::")[2])
        return operations

    def output(self, name: str) -> Any:
        """Return an output of the stack, also a secret one."""
        arguments = ("stack", "output", "--stack", self.stack, name, "--json", "--show-secrets")
        return json.loads(self.run("pulumi", *arguments, record=False).stdout)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Return the standard output of kubectl."""
        return self.run("kubectl", *arguments, stdin=stdin, check=check).stdout

    def ssh(self, node: str, script: str, check: bool = True, record: bool = True) -> str:
        """Return the standard output of a shell script on a node."""
        configuration = str(self.workspace.access(self.stack) / "ssh_config")
        return self.run("ssh", "-F", configuration, node, script, check=check, record=record).stdout

    def verify(self) -> list[dict[str, str]]:
        """Return the differences that `hardway verify --json` finds."""
        command = ["python3", "-m", "hardway", "verify", "--stack", self.stack, "--json"]
        result = _run(command, self.checkout, check=False)
        self.printed += [result.stdout, result.stderr]
        differences: list[dict[str, str]] = json.loads(result.stdout)["differences"]
        return differences

    @contextmanager
    def probe(self) -> Iterator[dict[str, Any]]:
        """Run `hardway probe --json` while the block runs.

        Yields:
            The report. It is empty until the block has ended.
        """
        report: dict[str, Any] = {}
        # An emulated node may need seconds for an answer.
        command = ["python3", "-m", "hardway", "probe", "--stack", self.stack, "--json", "--timeout=20"]
        with tempfile.NamedTemporaryFile() as errors:
            process = subprocess.Popen(
                command, cwd=self.checkout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
            )

            def said() -> str:
                return Path(errors.name).read_text()

            def is_measuring() -> bool:
                assert process.poll() is None, said()
                return "measuring until" in said()

            try:
                wait_for("the probe measures", is_measuring)
                yield report
            finally:
                process.send_signal(signal.SIGINT)
                printed, _ = process.communicate()
                self.printed += [printed, said()]
            assert process.returncode == 0, said()
            report.update(json.loads(printed))

    @property
    def nodes(self) -> Mapping[str, Mapping[str, str]]:
        """The nodes in the stack's outputs, by name."""
        nodes: Mapping[str, Mapping[str, str]] = self.output("nodes")
        return nodes

    @contextmanager
    def configured(self, **values: Any) -> Iterator[None]:
        """Set values in the stack file, by key without namespace, and restore the file afterwards."""
        text = self.stack_file.read_text()
        try:
            self.configure(**values)
            yield
        finally:
            self.stack_file.write_text(text)

    def configure(self, **values: Any) -> None:
        """Set values in the stack file, by key without namespace. None removes a key."""
        both = self.configuration | values
        self.configure_all({key: value for key, value in both.items() if value is not None})

    def configure_all(self, values: dict[str, Any]) -> None:
        """Replace all values in the stack file by these, by key without namespace."""
        document = yaml.safe_load(self.stack_file.read_text())
        document["config"] = {f"hardway:{key}": value for key, value in values.items()}
        self.stack_file.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def configuration(self) -> dict[str, Any]:
        """The values in the stack file, by key without namespace."""
        configured = yaml.safe_load(self.stack_file.read_text())["config"]
        return {key.removeprefix("hardway:"): value for key, value in configured.items()}

    @property
    def workers(self) -> list[dict[str, Any]]:
        """The workers in the stack file."""
        workers: list[dict[str, Any]] = self.configuration["workers"]
        return workers

    def invocations(self) -> dict[Service, str]:
        """Return the InvocationID of every service on every node. A different ID means that the service was started.

        It is empty for a stopped unit that systemd has unloaded, which it does if no loaded unit wants it.
        """
        show = "systemctl show --property LoadState,InvocationID"
        script = f"for unit in {' '.join(UNITS)}; do echo $({show} $unit); done"

        def on_node(node: str) -> dict[Service, str]:
            lines = self.ssh(node, script).splitlines()
            units = [dict(word.split("=", 1) for word in line.split()) for line in lines]
            return {
                (node, unit): properties["InvocationID"]
                for unit, properties in zip(UNITS, units, strict=True)
                if properties["LoadState"] == "loaded"
            }

        configuration = (self.workspace.access(self.stack) / "ssh_config").read_text()
        hosts = re.findall(r"^Host ([^*\s]+)$", configuration, re.MULTILINE)
        with ThreadPoolExecutor() as pool:
            return {service: run for runs in pool.map(on_node, hosts) for service, run in runs.items()}

    def clock_errors(self) -> dict[str, float]:
        """Return the seconds by which clocks of nodes are ahead of this machine or behind it, for wrong clocks only."""

        def error_of(node: str) -> float:
            before = time.time()
            now = float(self.ssh(node, "date +%s.%N"))
            return max(now - time.time(), 0) or min(now - before, 0)

        return {node: error for node in self.nodes if abs(error := error_of(node)) > CLOCK_TOLERANCE}

    def wait_until_idle(self) -> None:
        """Wait for the work that goes on after nodes are Ready: images are imported, and the lab's pods start."""
        is_active = "systemctl is-active kubelet-images.service"

        def images_are_imported() -> bool:
            return all(self.ssh(node["name"], is_active, check=False).strip() == "inactive" for node in self.workers)

        wait_for("images on every worker", images_are_imported)
        for deployment in ADDONS:
            self.wait_for_addon(deployment)

    def wait_for_addon(self, deployment: str, timeout: float = TIMEOUT) -> None:
        """Wait until the pods of an add-on's Deployment are ready."""
        # Without --watch=false, it fails once 10 minutes have passed without progress. The first of them pass before
        # the nodes are there.
        status = ("--namespace=kube-system", "rollout", "status", f"deployment/{deployment}", "--watch=false")
        wait_for(deployment, lambda: "successfully rolled out" in self.kubectl(*status, check=False), timeout)

    def restarts(self, action: Callable[[], Any]) -> set[Service]:
        """Return the services that an action restarts. Services that it adds or removes do not count."""
        before = self.invocations()
        action()
        after = self.invocations()
        return {service for service in before.keys() & after.keys() if before[service] != after[service]}


def checked_out() -> str:
    """Return the commit of this checkout, empty without one."""
    return _run(["git", "rev-parse", "HEAD"], CHECKOUT, check=False).stdout.strip()


def wait_for(what: str, condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
    """Wait until a condition holds.

    Args:
        what: The condition in words, for the error.
        condition: Called every second.
        timeout: Seconds after which to give up.

    Raises:
        TimeoutError: The condition does not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Timed out after {timeout:.0f} s while waiting for: {what}")
        time.sleep(1)


def wait_for_text(text: str, answer: Callable[[], str], timeout: float = TIMEOUT) -> None:
    """Wait until an answer contains a text.

    Args:
        text: The text.
        answer: Called every second.
        timeout: Seconds after which to give up.

    Raises:
        TimeoutError: The answer does not contain the text in time. The error has the last answer.
    """
    answers: list[str] = []

    def contains_text() -> bool:
        answers[:] = [answer()]
        return text in answers[0]

    try:
        wait_for(text, contains_text, timeout)
    except TimeoutError as error:
        raise TimeoutError(f"{error}. The last answer was:\n{answers[0]}") from None


def _run(
    command: list[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    check: bool = True,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command, cwd=folder, env=variables, input=stdin, text=True, capture_output=True, check=False
    )
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def _outcome(result: subprocess.CompletedProcess[str]) -> Outcome:
    return Outcome(stdout=result.stdout, stderr=result.stderr, exit_code=result.returncode)
