"""The benchmark of the program's growth."""

import json
import subprocess
import sys
from unittest.mock import Mock

import pytest

from dev.bench.scale import MODES, SIZES, Measurement, configuration, figures
from lab.config.parse import parse
from lab.node import worker
from lab.node.render import render
from lab.pki import identities
from system.files import CHECKOUT


@pytest.mark.parametrize("workers", SIZES)
def test_configuration_is_valid(workers: int) -> None:
    assert len(parse(configuration(workers)).workers) == workers


def test_growth_compares_time_per_worker() -> None:
    results = {(mode, size): Measurement(seconds=size, memory=1, resources=1) for mode in MODES for size in SIZES}
    results["render", SIZES[-1]] = Measurement(seconds=SIZES[-1] * 2, memory=1, resources=1)
    growth = {figure.name.partition(":")[0]: figure for figure in figures(results) if figure.goal}
    assert [(growth[mode].value, growth[mode].holds) for mode in MODES] == [(2, False), (1, True)]


def test_program_runs_to_its_end() -> None:
    command = [sys.executable, "-m", "dev.bench.scale", "resources", "1"]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    measured = Measurement(**json.loads(done.stdout))
    assert measured.seconds > 0
    assert measured.memory > 0
    assert measured.resources > 20


def test_identities_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, counter = parse(configuration(3)), Mock(wraps=identities)
    monkeypatch.setattr("lab.node.render.identities", counter)
    assert render(spec).identities == identities(spec)
    assert counter.call_count == 1
    assert not hasattr(worker, "identities"), "a kubelet must not compute the table"
