"""A lab as a user has it: a fresh clone, `make up`, and the commands of `.lab/env`."""

import json
import os
import re
import shutil
import subprocess
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

PATIENCE = 900
"""Seconds after which a condition that is waited for counts as never coming: no test measures by it."""
CLOCK_TOLERANCE = 2
"""Seconds by which a node may tell another time than this machine, beyond what asking takes."""

UNITS = (
    "containerd",
    "kubelet",
    "kube-proxy",
    "node-setup",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "addons",
    "bootstrap-tokens",
    "haproxy",
    "keepalived",
)
Service = tuple[str, str]
"""A node's name and a service's name."""


@dataclass(frozen=True)
class Change:
    """What `pulumi up` said: its whole output, and whether it went through."""

    output: str
    succeeded: bool


class RunningLab:
    """A clone of this checkout with a private hypervisor of its own; `make up` is not run yet."""

    def __init__(self, folder: Path, stack: str = "dev") -> None:
        self.checkout = folder
        self.stack = stack
        self.workspace = Workspace(folder)
        self.stack_file = self.workspace.stack_file(stack)
        self.printed: list[str] = []

    @classmethod
    def clone(cls, parent: Path, stack: str = "dev") -> "RunningLab":
        """Clones what Git has or would add of this checkout into a folder of `parent`, to run a stack from there.

        What runs that died have left in `parent` is ended and removed first.
        """
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.iterdir():
            sweep(left / ".lab")
            if not PrivateLibvirt(left / ".lab" / "hypervisor").running():
                shutil.rmtree(left)
        folder = parent / str(os.getpid())
        folder.mkdir()
        listed = _run(["git", "ls-files", "-coz", "--exclude-standard"], CHECKOUT).stdout
        for name in filter(None, listed.split("\0")):
            if (CHECKOUT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, folder / name)
        # As Git has them: a lab that is up here has put its salts there.
        forget_salts(folder)
        for command in ("init --quiet", "add --all", "-c user.name=e2e -c user.email=e2e commit --quiet -m clone"):
            _run(["git", *command.split()], folder)
        lab = cls(folder, stack)
        lab.workspace.lab.mkdir()
        PrivateLibvirt(lab.workspace.hypervisor).start(owner=os.getpid())
        return lab

    def purge(self) -> None:
        """Ends all that runs in the clone's namespaces, and removes the clone."""
        PrivateLibvirt(self.workspace.hypervisor).purge()
        shutil.rmtree(self.checkout)

    def make(self, target: str) -> Change:
        """Runs a target of the Makefile as a user would."""
        result = _run(["make", target, f"STACK={self.stack}"], self.checkout, check=False)
        self.printed += [result.stdout, result.stderr]
        return _outcome(result)

    def run(
        self, *command: str, check: bool = True, stdin: str = "", record: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with the environment of `.lab/env`: pulumi, kubectl, virsh, in-lab …, ssh.

        record: whether what it prints is kept in `printed`; False for what is asked to print secrets.
        """
        result = _run(["env", *command], self.checkout, self.environment, check, stdin)
        if record:
            self.printed += [result.stdout, result.stderr]
        return result

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Starts a command with the environment of `.lab/env` and does not wait for it."""
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
        """What a shell has after `. ./.lab/env`."""
        return environment.evaluate(self.workspace.env.read_text())

    def up(self, *options: str) -> Change:
        """`pulumi up`, yes to everything."""
        arguments = ("up", "--stack", self.stack, "--yes", "--skip-preview", "--non-interactive", *options)
        return _outcome(self.run("pulumi", *arguments, check=False))

    def preview(self) -> str:
        """What `pulumi preview --diff` prints: the diff, and in words what it means."""
        result = self.run("pulumi", "preview", "--stack", self.stack, "--diff", "--non-interactive")
        return result.stdout + result.stderr

    def planned(self) -> dict[str, set[str]]:
        """What `pulumi preview --json` would do: operation to the URNs' names, `same` left out."""
        document = json.loads(
            self.run("pulumi", "preview", "--stack", self.stack, "--json", "--non-interactive").stdout
        )
        operations: dict[str, set[str]] = {}
        for step in document["steps"]:
            if step["op"] != "same":
                operations.setdefault(step["op"], set()).add(step["urn"].rpartition("::")[2])
        return operations

    def output(self, name: str) -> Any:
        """An output of the stack, secret or not."""
        arguments = ("stack", "output", "--stack", self.stack, name, "--json", "--show-secrets")
        return json.loads(self.run("pulumi", *arguments, record=False).stdout)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """What kubectl prints."""
        return self.run("kubectl", *arguments, stdin=stdin, check=check).stdout

    def ssh(self, node: str, script: str, check: bool = True, record: bool = True) -> str:
        """What a shell script prints on a node."""
        configuration = str(self.workspace.access(self.stack) / "ssh_config")
        return self.run("ssh", "-F", configuration, node, script, check=check, record=record).stdout

    def verify(self) -> list[dict[str, str]]:
        """The differences that verification finds, as `--json` has them."""
        command = (
            "in-lab",
            str(self.workspace.venv / "bin" / "python"),
            "-m",
            "ops.verify",
            "--stack",
            self.stack,
            "--json",
        )
        document = json.loads(self.run(*command, check=False).stdout)
        differences: list[dict[str, str]] = document["differences"]
        return differences

    @property
    def nodes(self) -> Mapping[str, Mapping[str, str]]:
        """The nodes of the stack's output, by name."""
        nodes: Mapping[str, Mapping[str, str]] = self.output("nodes")
        return nodes

    @contextmanager
    def configured(self, **values: Any) -> Iterator[None]:
        """Lays values over the stack file's, by key without namespace; puts the file back afterwards."""
        text = self.stack_file.read_text()
        try:
            self.configure(**values)
            yield
        finally:
            self.stack_file.write_text(text)

    def configure(self, **values: Any) -> None:
        """Lays values over the stack file's, by key without namespace; None takes a key away."""
        both = self.configuration | values
        self.configure_all({key: value for key, value in both.items() if value is not None})

    def configure_all(self, values: dict[str, Any]) -> None:
        """Writes these values, by key without namespace, and no others into the stack file."""
        document = yaml.safe_load(self.stack_file.read_text())
        document["config"] = {f"hardway:{key}": value for key, value in values.items()}
        self.stack_file.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def configuration(self) -> dict[str, Any]:
        """The values that the stack file has, by key without namespace."""
        configured = yaml.safe_load(self.stack_file.read_text())["config"]
        return {key.removeprefix("hardway:"): value for key, value in configured.items()}

    @property
    def workers(self) -> list[dict[str, Any]]:
        """The workers as the stack file has them, to change and to hand to `configure`."""
        workers: list[dict[str, Any]] = self.configuration["workers"]
        return workers

    def invocations(self) -> dict[Service, str]:
        """The InvocationID of every service's unit on every node: another one means that it was started again.

        It is empty where systemd let go of a stopped unit, which it does unless a unit that it has loaded wants it.
        """
        show = "systemctl show --property LoadState,InvocationID"
        script = f"for unit in {' '.join(UNITS)}; do echo $({show} $unit); done"

        def of(node: str) -> dict[Service, str]:
            shown = [dict(word.split("=", 1) for word in line.split()) for line in self.ssh(node, script).splitlines()]
            return {
                (node, unit): properties["InvocationID"]
                for unit, properties in zip(UNITS, shown, strict=True)
                if properties["LoadState"] == "loaded"
            }

        configuration = (self.workspace.access(self.stack) / "ssh_config").read_text()
        hosts = re.findall(r"^Host ([^*\s]+)$", configuration, re.MULTILINE)
        with ThreadPoolExecutor() as pool:
            found = pool.map(of, hosts)
        return {service: run for runs in found for service, run in runs.items()}

    def clock_errors(self) -> dict[str, float]:
        """Nodes whose clocks are not this machine's, to the seconds by which they are ahead, or behind it."""

        def of(node: str) -> float:
            before = time.time()
            told = float(self.ssh(node, "date +%s.%N"))
            return max(told - time.time(), 0) or min(told - before, 0)

        return {node: error for node in self.nodes if abs(error := of(node)) > CLOCK_TOLERANCE}

    def settle(self) -> None:
        """Returns once all that goes on after nodes are Ready is done: images come in, and the lab's own pods start."""
        is_active = "systemctl is-active kubelet-images.service"

        def images_are_in() -> bool:
            return all(self.ssh(node["name"], is_active, check=False).strip() == "inactive" for node in self.workers)

        wait_for("images on every worker", images_are_in)
        self.kubectl("--namespace=kube-system", "rollout", "status", "deployment/coredns", f"--timeout={PATIENCE}s")

    def restarts(self, action: Callable[[], Any]) -> set[Service]:
        """The services that run as another invocation after `action` than before; those that came or went left out."""
        before = self.invocations()
        action()
        after = self.invocations()
        return {service for service in before.keys() & after.keys() if before[service] != after[service]}


def checked_out() -> str:
    """The commit that this checkout is at: a seed that each commit has of its own. Empty where there is none."""
    return _run(["git", "rev-parse", "HEAD"], CHECKOUT, check=False).stdout.strip()


def wait_for(what: str, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Returns once `condition` holds. Raises TimeoutError, naming `what`, where it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for: {what}")
        time.sleep(1)


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


def _outcome(result: subprocess.CompletedProcess[str]) -> Change:
    return Change(output=result.stdout + result.stderr, succeeded=result.returncode == 0)
