"""Measure a fresh lab: `make bench`.

It prints the figures and writes them to .lab/reports/bench.json.
"""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from dev.bench import measuring, operations
from dev.bench.machine import load, machine, used_versions
from dev.bench.measuring import BenchError
from dev.bench.report import Figure, document, table
from host.workspace import Workspace
from system.commands import attempt
from system.files import CHECKOUT
from tests.support.running_lab import RunningLab
from toolchain.cache import default_folder


def main() -> int:
    """Take all measurements on one lab.

    Returns:
        The exit code: 1 if a measurement failed. Missed goals do not count.
    """
    lab = RunningLab.clone(default_folder() / "bench")
    try:
        about, figures, failures = _measure(lab)
        large_preview, preview_failures = _table_of("dev.bench.large_preview", lab)
    finally:
        lab.purge()
    scale, scale_failures = _table_of("dev.bench.scale")
    failures += preview_failures + scale_failures
    for name, values in about.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in values.items())}")
    print(f"\n{table(figures)}")
    print(f"\nThe program with many workers, without the engine:\n\n{scale}")
    print(f"\nPreviews of many new workers:\n\n{large_preview}")
    for failure in failures:
        print(f"\nNOT MEASURED: {failure}")
    report = Workspace(CHECKOUT).lab / "reports" / "bench.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    tables = {"scale": scale.splitlines(), "large previews": large_preview.splitlines()}
    report.write_text(json.dumps(document(figures, failures, **about) | tables, indent=2) + "\n")
    return 1 if failures else 0


def _table_of(module: str, lab: RunningLab | None = None) -> tuple[str, list[str]]:
    """Run another benchmark in a separate process, in the lab's environment if there is one.

    Returns:
        The table that it prints, and the failures.
    """
    _step(module)
    command = [sys.executable, "-m", module]
    result = lab.run("in-lab", *command, check=False) if lab else attempt(command, folder=CHECKOUT)
    if result.returncode != 0:
        return "", [f"{module}\n{result.stdout}{result.stderr}"]
    return result.stdout.rstrip(), []


def _measure(lab: RunningLab) -> tuple[dict[str, dict[str, str]], list[Figure], list[str]]:
    """Return facts about the run, the figures, and the failed measurements. Bring the lab up and destroy it."""
    began, load_before = datetime.now(UTC), load()
    _step("hardway prepare")
    prepared = lab.hardway("prepare")
    if not prepared.succeeded:
        raise BenchError(f"hardway prepare failed:\n{prepared.output}")
    lab.run("pulumi", "stack", "select", "--create", "dev")
    _step(_title(measuring.from_nothing))
    figures = measuring.from_nothing(lab)
    failures: list[str] = []
    lab.wait_until_idle()
    measurements = (measuring.previews, measuring.transaction, measuring.changed_field, *operations.MEASUREMENTS)
    for measure in measurements:
        _step(f"{_title(measure)} (load {load()})")
        try:
            figures += measure(lab)
        except (BenchError, AssertionError) as error:
            failures.append(f"{_title(measure)}\n{error}")
    run = {
        "date": f"{began:%Y-%m-%d %H:%M} UTC",
        "minutes": f"{(datetime.now(UTC) - began).total_seconds() / 60:.0f}",
        "load before": load_before,
        "load after": load(),
    }
    about = {"run": run, "machine": machine(lab), "versions": used_versions(lab)}
    _step("pulumi destroy")
    lab.run("pulumi", "destroy", "--stack", "dev", "--yes", "--skip-preview", "--non-interactive")
    return about, figures, failures


def _title(measure: Callable[[RunningLab], list[Figure]]) -> str:
    return (measure.__doc__ or measure.__name__).splitlines()[0]


def _step(title: str) -> None:
    print(f"==> {title}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
