"""`make bench`: brings up a fresh lab, measures, prints the figures and writes them to .lab/reports/bench.json."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from dev.bench import measuring
from dev.bench.machine import load, machine, used_versions
from dev.bench.measuring import BenchError
from dev.bench.report import Figure, document, table
from host.workspace import Workspace
from system.files import CHECKOUT
from tests.support.running_lab import RunningLab
from toolchain.cache import default_folder


def main() -> int:
    """Measures all there is to measure, on one lab.

    The exit code is 1 where something could not be measured; the goals have no say in it.
    """
    lab = RunningLab.clone(default_folder() / "bench")
    try:
        about, figures, failures = _measured(lab)
    finally:
        lab.purge()
    for name, values in about.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in values.items())}")
    print(f"\n{table(figures)}")
    for failure in failures:
        print(f"\nNOT MEASURED: {failure}")
    report = Workspace(CHECKOUT).lab / "reports" / "bench.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(document(figures, failures, **about), indent=2) + "\n")
    return 1 if failures else 0


def _measured(lab: RunningLab) -> tuple[dict[str, dict[str, str]], list[Figure], list[str]]:
    """What there is to know of the run, its figures, and what could not be measured. Takes the stack down again."""
    began, load_before = datetime.now(UTC), load()
    _step("make prepare")
    prepared = lab.make("prepare")
    if not prepared.succeeded:
        raise BenchError(f"make prepare failed:\n{prepared.output}")
    lab.run("pulumi", "stack", "select", "--create", "dev")
    _step(_title(measuring.from_nothing))
    figures, failures = measuring.from_nothing(lab), []
    lab.settle()
    for measure in (measuring.previews, measuring.transaction, measuring.changed_field):
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


def _step(what: str) -> None:
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
