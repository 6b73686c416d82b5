"""The command `python3 -m ops.probe`, with a fake program that measures."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ops.probe.__main__ import main
from system.files import CHECKOUT
from tests.support.waiting import wait_until

REPORT = {
    "stack": "dev",
    "start": "2026-01-02T03:04:05.678+00:00",
    "seconds": 1.0,
    "targets": [
        {
            "target": "API read",
            "from": "this machine",
            "requests": 10,
            "failures": 2,
            "longestGap": 0.3,
            "unknown": 0.0,
            "slowest": 0.1,
            "error": "Connection refused",
            "spans": [{"state": "ok", "begin": 0.0, "end": 1.0}],
        }
    ],
    "nodes": [],
    "pods": [],
    "services": [],
    "notes": [],
}

Run = Callable[..., int]


@pytest.fixture
def measure(tmp_path: Path) -> list[str]:
    """The command line of a program that measures until its standard input ends, and records its arguments."""
    script = f"""\
echo "$@" >{tmp_path}/arguments
echo measuring
cat >/dev/null
echo ended >{tmp_path}/ended
echo '{json.dumps(REPORT)}'
"""
    return ["sh", "-c", script, "measure"]


def run(program: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in another process, so that the output of COMMAND can be seen."""
    return subprocess.run([*started_by(program), *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=100)


def started_by(program: Sequence[str]) -> list[str]:
    code = "import sys; from ops.probe.__main__ import main; sys.exit(main(sys.argv[2:], eval(sys.argv[1])))"
    return [sys.executable, "-c", code, repr(list(program))]


def test_output_and_exit_code_of_the_command_come_first(measure: list[str], tmp_path: Path) -> None:
    result = run(measure, "--", "sh", "-c", f"cat {tmp_path}/ended; echo out; echo err >&2; exit 7")
    assert result.returncode == 7
    out, _, report = result.stdout.partition("\n")
    assert out == "out"
    assert report.startswith("Stack dev, 1.0 s")
    # It still measured when the command ran.
    assert "ended: No such file" in result.stderr
    assert "err\n" in result.stderr


def test_options_reach_the_program_that_measures(measure: list[str], tmp_path: Path) -> None:
    assert run(measure, "--stack", "mine", "--rate", "2", "--", "true").returncode == 0
    assert (tmp_path / "arguments").read_text() == "--stack mine --rate=2.0 --timeout=5.0\n"


def test_command_may_have_options_like_ours(measure: list[str]) -> None:
    result = run(measure, "--json", "--", "echo", "--json", "--", "--stack")
    first, _, rest = result.stdout.partition("\n")
    assert first == "--json -- --stack"
    assert json.loads(rest) == REPORT


@pytest.mark.parametrize(
    ("limits", "code", "problem"),
    [
        (["--max-failures=2", "--max-gap=0.3"], 0, ""),
        (["--max-failures=1"], 1, "API read from this machine had 2 failures; allowed are 1"),
        (["--max-gap=0.2"], 1, "API read from this machine had a gap of 0.3 s; allowed are 0.2 s"),
    ],
)
def test_limits_set_the_exit_code(
    measure: list[str], limits: list[str], code: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*limits, "--seconds=0.1"], measure) == code
    assert problem in capsys.readouterr().err


def test_failed_command_wins_over_limits(measure: list[str]) -> None:
    assert main(["--max-failures=0", "--", "false"], measure) == 1
    assert main(["--max-failures=0", "--", "sh", "-c", "exit 3"], measure) == 3
    assert main(["--", "sh", "-c", "kill -TERM $$"], measure) == 128 + signal.SIGTERM


def test_picture_is_written_into_the_current_folder(
    measure: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--picture", "a.svg", "--", "true"], measure) == 0
    assert "Availability of stack dev, `true`" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("script", "code"), [("exit 2", 2), ("exit 0", 2), ("echo measuring; exit 1", 2), ("echo measuring; cat", 2)]
)
def test_cluster_that_cannot_be_measured(script: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--", "true"], ["sh", "-c", script]) == code
    assert capsys.readouterr().out == ""


def test_objects_that_stay_are_a_failure(measure: list[str]) -> None:
    measure[2] += "exit 1\n"
    assert main(["--", "true"], measure) == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--seconds=1", "--", "true"], "--seconds is for a measurement without COMMAND"),
        (["--seconds=0"], "must be greater than 0"),
        (["--rate=-1"], "must be greater than 0"),
    ],
)
def test_wrong_options(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words, ["false"])
    assert end.value.code == 2
    assert problem in capsys.readouterr().err


def test_missing_command_is_found_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--", "no-such-program"], ["touch", str(tmp_path / "started")]) == 127
    assert "no-such-program is not on PATH" in capsys.readouterr().err
    assert not (tmp_path / "started").exists()


def start(program: Sequence[str], *arguments: str, **options: Any) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*started_by(program), *arguments], cwd=CHECKOUT, stdout=pipe, stderr=pipe, text=True, **options
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_the_measurement_with_a_report(measure: list[str], number: signal.Signals) -> None:
    process = start(measure)
    assert process.stderr is not None
    assert "measuring until Ctrl-C" in process.stderr.readline()
    process.send_signal(number)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert out.startswith("Stack dev")


def test_terminal_interrupts_the_command_and_the_report_follows(measure: list[str], tmp_path: Path) -> None:
    measure[2] = f"trap '' INT\n{measure[2]}"
    command = f"trap 'echo interrupted; exit 5' INT; touch {tmp_path}/running; while :; do sleep 0.05; done"
    process = start(measure, "--", "sh", "-c", command, start_new_session=True)
    wait_until(lambda: (tmp_path / "running").exists(), "the command runs", lambda: process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 5
    assert out.startswith("interrupted\nStack dev")


def test_other_signals_reach_the_command(measure: list[str], tmp_path: Path) -> None:
    command = f"trap 'echo ended; exit 6' TERM; touch {tmp_path}/running; while :; do sleep 0.05; done"
    process = start(measure, "--", "sh", "-c", command)
    wait_until(lambda: (tmp_path / "running").exists(), "the command runs", lambda: process.poll() is not None)
    process.terminate()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 6
    assert out.startswith("ended\nStack dev")


def test_interruption_before_the_measurement_ends_it(tmp_path: Path) -> None:
    script = f"trap 'touch {tmp_path}/removed; exit 130' TERM; touch {tmp_path}/running; while :; do sleep 0.05; done"
    process = start(["sh", "-c", script], "--", "touch", f"{tmp_path}/command")
    wait_until(lambda: (tmp_path / "running").exists(), "it prepares", lambda: process.poll() is not None)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert (tmp_path / "removed").exists()
    assert not (tmp_path / "command").exists()
