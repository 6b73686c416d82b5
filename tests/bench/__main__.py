"""`make bench`: brings up a fresh lab, measures, prints the figures and writes them to .lab/reports/bench.json."""

import json
import sys
from datetime import UTC, datetime

from host.environment import Layout
from tests.bench import measuring
from tests.bench.machine import load, machine, used_versions
from tests.bench.measuring import BenchError
from tests.bench.report import Figure, document, table
from tests.e2e.running_lab import CHECKOUT, RunningLab
from toolchain.cache import default_folder

MEASUREMENTS = (measuring.from_nothing, measuring.previews, measuring.transaction, measuring.changed_field)
"""In their order: the first brings the lab up."""


def main() -> int:
    """Measures all there is to measure, on one lab. The exit code doesn't tell whether the goals are reached."""
    lab = RunningLab.clone(default_folder() / "bench")
    try:
        about, figures = _measured(lab)
    finally:
        lab.purge()
    for name, values in about.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in values.items())}")
    print(f"\n{table(figures)}", flush=True)
    report = Layout(CHECKOUT).lab / "reports" / "bench.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(document(figures, **about), indent=2) + "\n")
    return 0


def _measured(lab: RunningLab) -> tuple[dict[str, dict[str, str]], list[Figure]]:
    """What there is to know of the run, and its figures. Takes the stack down again."""
    began, load_before = datetime.now(UTC), load()
    _step("make prepare")
    prepared = lab.make("prepare")
    if not prepared.succeeded:
        raise BenchError(f"make prepare failed:\n{prepared.output}")
    lab.run("pulumi", "stack", "select", "--create", "dev")
    figures = []
    for measure in MEASUREMENTS:
        _step((measure.__doc__ or "").splitlines()[0])
        figures += measure(lab)
    run = {
        "date": f"{began:%Y-%m-%d %H:%M} UTC",
        "minutes": f"{(datetime.now(UTC) - began).total_seconds() / 60:.0f}",
        "load before": load_before,
    }
    about = {"run": run, "machine": machine(lab), "versions": used_versions(lab)}
    _step("pulumi destroy")
    lab.run("pulumi", "destroy", "--stack", "dev", "--yes", "--skip-preview", "--non-interactive")
    return about, figures


def _step(what: str) -> None:
    print(f"==> {what}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
