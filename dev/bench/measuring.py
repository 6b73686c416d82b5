"""The measurements of a lab. One run takes all of them on the same lab."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dev.bench import hypervisor, timeline
from dev.bench.report import Figure, median_of, ratio
from host.engine.urns import resource_name
from lab.node.paths import PROGRAMS, SERVICES
from system.errors import HardwayError
from tests.support.running_lab import UNITS, Outcome, RunningLab

MIB = 1024**2
FAST_ROUNDS = 5
"""Repetitions of a measurement that takes seconds."""
SLOW_ROUNDS = 3
"""Repetitions of a measurement that takes a minute."""

_UP = ("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview", "--non-interactive")
_ANSWERS = Path(__file__).with_name("answers.py")
_PROJECT = """\
name: {name}
runtime:
  name: python
  options:
    toolchain: pip
    virtualenv: {venv}
"""
# Shows the cost of resources in the engine, the SDK and a plugin, without the cost of the lab's program.
_BARE_PROGRAM = """\
import gc
import pulumi
import pulumi_tls

gc.disable()
pulumi.log.debug = lambda *_, **__: None
for number in range({components}):
    pulumi.ComponentResource("bare:index:Component", f"component-{{number}}").register_outputs({{}})
for number in range({others}):
    pulumi_tls.PrivateKey(f"key-{{number}}", algorithm="ED25519")
"""
# Polls as often as `service apply` does at first.
_RESTART_MANUALLY = f"""\
set -eu
health=$(cat {SERVICES}/kubelet/applied/health)
started=${{EPOCHREALTIME/./}}
systemctl restart kubelet
until bash -c "$health" >/dev/null 2>&1; do sleep 1; done
echo $((${{EPOCHREALTIME/./}} - started))
"""


class BenchError(HardwayError):
    """Something could not be measured. The message names it and the reason."""


def from_nothing(lab: RunningLab) -> list[Figure]:
    """Measure the first `up` of a lab: times to boot and to Ready, bytes received and memory used."""
    addresses = _addresses(lab)
    with tempfile.TemporaryDirectory() as folder, _listener(lab, addresses.values()) as listener:
        log = Path(folder) / "events"
        with hypervisor.Sampler(lab) as sampler:
            began = int(time.time())
            # The engine accepts --event-log only with its debugging options enabled.
            first = lab.run("PULUMI_DEBUG_COMMANDS=1", *_UP, "--event-log", str(log), check=False)
        if first.returncode != 0:
            raise BenchError(f"pulumi up failed:\n{first.stdout}{first.stderr}")
        with log.open() as lines:
            times = timeline.created(lines)
        answers = _answers(listener)
    # In whole seconds, like the timestamps of the engine.
    answered = {node: int(answers[address]) for node, address in addresses.items()}
    workers = [worker["name"] for worker in lab.workers]
    boot = max(answered.values()) - timeline.first_domain(times)
    ready = {worker: timeline.healthy(times, worker, "kubelet") for worker in workers}
    total = max(ready.values()) - began
    # This resource is created when the node answers by SSH and has the programs of the lab.
    prepared = max(timeline.healthy(times, node, "prepared") for node in addresses) - timeline.first_domain(times)
    return [
        Figure(name="VMs' boot: first domain created to last SSH greeting", value=boot, unit="s"),
        Figure(name="  first domain created to last node prepared", value=prepared, unit="s"),
        Figure(name="first pulumi up: start to all workers Ready", value=total, unit="s"),
        ratio("  relative to the VMs' boot", total, boot, goal=1.8),
        *(
            Figure(name=f"{worker}: SSH greeting to Ready", value=ready[worker] - answered[worker], unit="s")
            for worker in workers
        ),
        *_memory(lab, list(addresses), sampler.samples),
        *_bytes(lab, ready, sampler.samples),
    ]


def previews(lab: RunningLab) -> list[Figure]:
    """Measure a preview without a change, relative to an empty program and to one with as many resources."""
    options = ("--stack", "dev", "--non-interactive", "--expect-no-changes")
    with _project(lab, "empty", "") as empty, _project(lab, "bare", _BARE_PROGRAM.format(**_counts(lab))) as bare:
        lab_seconds, bare_seconds, empty_seconds = _interleaved(
            lambda: lab.run("pulumi", "preview", *options),
            lambda: lab.run("pulumi", "-C", bare, "preview", *options),
            lambda: lab.run("pulumi", "-C", empty, "preview", *options),
        )
    return [
        (preview := median_of("preview without a change", lab_seconds)),
        (bare_preview := median_of("  of a bare program with as many resources", bare_seconds)),
        (empty_preview := median_of("  of an empty program", empty_seconds)),
        ratio("  relative to the bare program", preview.value, bare_preview.value),
        ratio("  relative to the empty program", preview.value, empty_preview.value, goal=1.5),
    ]


def transaction(lab: RunningLab) -> list[Figure]:
    """Measure a `service apply` without a change, and an SSH command that does nothing."""
    worker = lab.workers[0]["name"]
    payload = _state(lab)[timeline.COMMAND, f"{worker}-kubelet"]["inputs"]["stdin"]
    outcomes = []

    def apply() -> None:
        outcomes.append(_on_node(lab, worker, f"{PROGRAMS}/service apply kubelet", payload))

    applied, nothing = _interleaved(apply, lambda: _on_node(lab, worker, "true"))
    if any(outcome.strip() != "kubelet: unchanged" for outcome in outcomes):
        raise BenchError(f"a service transaction without a change did something: {outcomes}")
    return [
        median_of(f"service transaction without a change (kubelet on {worker})", applied),
        median_of("  an SSH command that does nothing", nothing),
    ]


def changed_field(lab: RunningLab) -> list[Figure]:
    """Measure `up` with one changed kubelet field, relative to `up` without a change plus a manual restart."""
    workers = lab.workers
    worker = workers[0]["name"]
    unchanged, changed, manually = [], [], []
    for number in range(SLOW_ROUNDS):
        unchanged.append(_up(lab, restarting=set()))
        workers[0]["kubelet"] = {"maxPods": 100 + number}
        lab.configure(workers=workers)
        changed.append(_up(lab, restarting={(worker, "kubelet")}))
        manually.append(int(_on_node(lab, worker, "bash -s", _RESTART_MANUALLY)) / 1e6)
    return [
        (without := median_of("up without a change", unchanged)),
        (restart := median_of(f"kubelet on {worker} restarted manually, until healthy", manually)),
        (up := median_of(f"up with one kubelet field changed on {worker}", changed)),
        ratio("  relative to the sum of both", up.value, without.value + restart.value, goal=1.2),
    ]


@contextmanager
def _project(lab: RunningLab, name: str, program: str) -> Iterator[str]:
    """Bring a program up with the engine, backend and Python of the lab, and yield its folder."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Pulumi.yaml").write_text(_PROJECT.format(name=name, venv=lab.workspace.venv))
        Path(folder, "__main__.py").write_text(program)
        lab.run("pulumi", "-C", folder, "stack", "init", "dev")
        lab.run(*_UP, "-C", folder)
        yield folder
        lab.run("pulumi", "-C", folder, "stack", "rm", "dev", "--yes", "--force")


def _counts(lab: RunningLab) -> dict[str, int]:
    """Return the numbers of components and of other resources, without the stack and the providers."""
    parts = [kind.split(":")[0] for kind, _ in _state(lab)]
    components = parts.count("hardway")
    return {"components": components, "others": len(parts) - components - parts.count("pulumi")}


def _memory(lab: RunningLab, nodes: list[str], samples: list[hypervisor.Sample]) -> list[Figure]:
    figures = []
    for node in nodes:
        domain = _domain(lab, node)
        used, resident = hypervisor.most_used(samples, domain), hypervisor.most_resident(lab, domain)
        figures += [
            Figure(
                name=f"{node}: peak memory used inside, read every {hypervisor.PERIOD} s",
                value=used / MIB,
                unit="MiB",
            ),
            Figure(name="  peak memory of its process on the host (VmHWM)", value=resident / MIB, unit="MiB"),
        ]
        for unit, peak in _unit_peaks(lab, node).items():
            figures.append(Figure(name=f"  {unit} with its page cache (memory.peak)", value=peak / MIB, unit="MiB"))
    return figures


def _unit_peaks(lab: RunningLab, node: str) -> Mapping[str, int]:
    """Return the peak memory in bytes of each unit that runs on a node.

    It is read from the control groups, because systemd of Debian 12 does not show MemoryPeak.

    Raises:
        BenchError: The kernel reports it for no unit.
    """
    read = f"cd /sys/fs/cgroup && for unit in {' '.join(UNITS)}; do grep -sH . *.slice/$unit.service/memory.peak; done"
    peaks = {}
    for line in lab.ssh(node, f"{read}; true").splitlines():
        path, _, peak = line.rpartition(":")
        peaks[Path(path).parent.name.removesuffix(".service")] = int(peak)
    if not peaks:
        raise BenchError(f"no unit of {node} has a control group with memory.peak")
    return peaks


def _bytes(lab: RunningLab, ready: Mapping[str, int], samples: list[hypervisor.Sample]) -> list[Figure]:
    resources = _state(lab)
    figures = []
    for node, at in ready.items():
        printed = resources["command:local:Command", f"{node}-binaries"]["outputs"]["stdout"]
        pushed = printed.removesuffix(" bytes sent")
        if not pushed.isdigit():
            raise BenchError(f"the push to {node} printed {printed!r} instead of the number of bytes sent")
        received = hypervisor.received(samples, _domain(lab, node), at)
        figures += [
            Figure(name=f"{node}: binaries and images pushed", value=int(pushed), unit="bytes"),
            Figure(name="  all bytes received until Ready", value=received, unit="bytes"),
        ]
    return figures


def _state(lab: RunningLab) -> Mapping[timeline.Resource, Any]:
    """Return the resources of the stack by type and name, with secrets in plain text. Never print or store it."""
    exported = lab.run("pulumi", "stack", "export", "--stack", "dev", "--show-secrets", record=False).stdout
    return {
        (resource["type"], resource_name(resource["urn"])): {
            part: {name: _plain(value) for name, value in resource.get(part, {}).items()}
            for part in ("inputs", "outputs")
        }
        for resource in json.loads(exported)["deployment"]["resources"]
    }


def _plain(value: Any) -> Any:
    return json.loads(value["plaintext"]) if isinstance(value, dict) and "plaintext" in value else value


def _up(lab: RunningLab, restarting: set[tuple[str, str]]) -> float:
    """Run `pulumi up` and return its duration in seconds.

    Raises:
        BenchError: It fails, or restarts other services than `restarting`.
    """
    seconds = 0.0
    outcome: Outcome | None = None

    def up() -> None:
        nonlocal seconds, outcome
        began = time.monotonic()
        outcome = lab.up()
        seconds = time.monotonic() - began

    restarted = lab.restarts(up)
    assert outcome
    if not outcome.succeeded:
        raise BenchError(f"pulumi up failed:\n{outcome.output}")
    if restarted != restarting:
        raise BenchError(f"pulumi up restarted {sorted(restarted)}, not {sorted(restarting)}")
    return seconds


def _interleaved(*actions: Callable[[], object]) -> list[list[float]]:
    """Return the seconds of FAST_ROUNDS runs of each action.

    The actions run in turns, so that a disturbance from outside affects all of them.
    """
    seconds: list[list[float]] = [[] for _ in actions]
    for _ in range(FAST_ROUNDS):
        for action, durations in zip(actions, seconds, strict=True):
            began = time.monotonic()
            action()
            durations.append(time.monotonic() - began)
    return seconds


def _on_node(lab: RunningLab, node: str, command: str, stdin: str = "") -> str:
    configuration = str(lab.workspace.access("dev") / "ssh_config")
    return lab.run("ssh", "-F", configuration, node, command, stdin=stdin, record=False).stdout


def _configuration(lab: RunningLab) -> Mapping[str, Any]:
    configuration: Mapping[str, Any] = yaml.safe_load(lab.stack_file.read_text())["config"]
    return configuration


def _addresses(lab: RunningLab) -> dict[str, str]:
    """Return the addresses by node from the stack file, because the stack has no outputs yet."""
    configuration = _configuration(lab)
    nodes = configuration["hardway:controlPlanes"] + configuration["hardway:workers"]
    return {node["name"]: node["address"] for node in nodes}


def _domain(lab: RunningLab, node: str) -> str:
    return f"{_configuration(lab).get('hardway:name', 'hardway')}-{node}"


@contextmanager
def _listener(lab: RunningLab, addresses: Iterable[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints the time when each address first answers by SSH."""
    process = lab.start("in-lab", sys.executable, str(_ANSWERS), *addresses)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _answers(listener: subprocess.Popen[str]) -> dict[str, float]:
    """Return the time of each address' first answer. All have answered, so the program ends by itself."""
    printed, _ = listener.communicate(timeout=60)
    return {address: float(at) for address, at in map(str.split, printed.splitlines())}
