"""Measure where the time of a preview of many new workers goes: the program, the engine or the plugins.

Run as `in-lab python -m dev.bench.large_preview [--checkout FOLDER] [WORKERS ...]`, by default with 10, 100 and 1000.
The real engine, plugins and libvirt take part, but no node. CPU time is measured, because the machine may have other
work. `--checkout` measures another version of the project beside this one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dev.bench.report import Figure, table
from dev.bench.scale import configuration
from system.files import CHECKOUT

SIZES = (10, 100, 1000)
"""Numbers of workers."""

POLL_INTERVAL = 0.2
"""Seconds between two looks at the processes. A process that ends in between loses this much of its time."""

PARTS = {"pulumi": "engine", "pulumi-language": "engine", "pulumi-resource": "plugins", "python": "program"}
"""The beginning of a program's name and the part that it belongs to; the longest match counts."""

STACK = "scale"

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """CPU time and memory of the processes of one part.

    Attributes:
        seconds: CPU time by process ID.
        memory: Peak memory in MiB by process ID.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)


def preview(checkout: Path, workers: int) -> Mapping[str, Usage]:
    """Preview a new lab and return the usage of each part.

    Raises:
        subprocess.CalledProcessError: The preview failed.
    """
    with tempfile.TemporaryDirectory(prefix="hardway-bench-") as folder:
        _write_project(Path(folder), checkout, workers)
        environment = os.environ | {
            "PULUMI_BACKEND_URL": Path(folder).as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "HARDWAY_VIRTUALIZATION": "qemu",
        }
        engine = ["pulumi", "--cwd", folder, "--non-interactive"]
        subprocess.run([*engine, "stack", "init", STACK], env=environment, check=True, stdout=subprocess.DEVNULL)
        command = [*engine, "preview", "--stack", STACK, "--suppress-progress", "--skip-config-validation"]
        with (Path(folder) / "log").open("w+") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            usage: dict[str, Usage] = defaultdict(Usage)
            while process.poll() is None:
                _sample(process.pid, usage)
                time.sleep(POLL_INTERVAL)
            if process.returncode != 0:
                log.seek(0)
                sys.stderr.write(log.read()[-4000:])
                raise subprocess.CalledProcessError(process.returncode, command)
    return usage


def _write_project(folder: Path, checkout: Path, workers: int) -> None:
    """Write a project whose program is that of a checkout, so that the checkout gets no stack file."""
    project = yaml.safe_load((checkout / "Pulumi.yaml").read_text())
    options = project["runtime"]["options"]
    options["virtualenv"] = str(checkout / options["virtualenv"])
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project | {"main": str(checkout)}))
    values = {f"{project['name']}:{key}": value for key, value in configuration(workers).items()}
    (folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump({"config": values}))


def _sample(session: int, usage: Mapping[str, Usage]) -> None:
    """Record the present usage of all processes of a session."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            if int(fields[3]) != session:
                continue
            status = (entry / "status").read_text()
        except OSError:
            continue
        match = max((prefix for prefix in PARTS if name.startswith(prefix)), key=len, default="")
        part = usage[PARTS.get(match, "others")]
        part.seconds[int(entry.name)] = (int(fields[11]) + int(fields[12])) / TICKS
        peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
        # A process that has ended but not been waited for reports no memory.
        part.memory[int(entry.name)] = max(int(peak) / 1024, part.memory.get(int(entry.name), 0))


def figures(workers: int, usage: Mapping[str, Usage]) -> list[Figure]:
    """Return the CPU time of each part and in all, and the memory of the largest process."""
    found = []
    total = 0.0
    for part in sorted(usage):
        seconds = sum(usage[part].seconds.values())
        total += seconds
        found.append(Figure(name=f"{workers} workers: CPU time of the {part}", value=seconds, unit="s"))
    memory = max(max(part.memory.values()) for part in usage.values())
    found.append(Figure(name=f"{workers} workers: CPU time in all", value=total, unit="s"))
    found.append(Figure(name=f"{workers} workers: memory of the largest process", value=memory, unit="MiB"))
    return found


def main() -> int:
    """Print the figures for each number of workers."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench.large_preview", description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="the version to measure (default: this one)")
    parser.add_argument("workers", type=int, nargs="*", default=SIZES, help="numbers of workers")
    options = parser.parse_args()
    found = []
    for workers in options.workers:
        found += figures(workers, preview(options.checkout.resolve(), workers))
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
