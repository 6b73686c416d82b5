"""How the engine is run for a stack: with the lab's environment, and left to end in its own way."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from host import environment
from host.environment import Layout
from host.errors import HostError
from host.stack import Stack, deployed

CHECKOUT = Path(__file__).parents[2]
# Stands for an engine that, told to stop, still has to write its state.
SLOW_TO_STOP = """\
#!/bin/sh
[ "$1" = preview ] || exit 0
trap 'sleep 1; echo state written; exit 1' INT TERM
echo running
while :; do sleep 0.05; done
"""


def prepared(checkout: Path, engine: str) -> Layout:
    """A checkout that is prepared, with the given program for an engine."""
    layout = Layout(checkout)
    program = checkout / "engine"
    program.write_text(engine)
    program.chmod(0o755)
    environment.write(layout, environment.render(layout, "dev", "qemu"), {"pulumi": program}, private=False)
    return layout


def test_a_machine_that_is_not_prepared_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="make prepare"):
        Stack(Layout(tmp_path), "dev")


def test_only_stacks_with_resources_are_deployed(tmp_path: Path) -> None:
    listed = '[{"name": "dev", "resourceCount": 3}, {"name": "empty", "resourceCount": 0}, {"name": "new"}]'
    assert deployed(prepared(tmp_path, f"#!/bin/sh\necho '{listed}'\n")) == ["dev"]


def test_an_engine_that_fails_is_named_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"`pulumi stack` failed \(exit code 4\)"):
        Stack(prepared(tmp_path, "#!/bin/sh\nexit 4\n"), "dev").preview()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_waits_for_the_engine_to_write_its_state(tmp_path: Path, number: signal.Signals) -> None:
    prepared(tmp_path, SLOW_TO_STOP)
    program = "import sys; from pathlib import Path; from host.environment import Layout; from host.stack import Stack"
    command = [sys.executable, "-c", f"{program}; Stack(Layout(Path(sys.argv[1])), 'dev').preview()", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        if number == signal.SIGINT:
            # As a terminal does: to the whole group.
            subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
        else:
            process.send_signal(number)
        assert process.stdout.read() == "state written\n"
        assert process.wait() != 0
