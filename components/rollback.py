"""Rolling back a whole change, which `hardway up` does and a plain `pulumi up` cannot do."""

import os

import pulumi

from host.engine.rollback import FAILURE_HANDLED_VARIABLE
from host.workspace import command_line
from lab.spec import FailureAction, Spec


def warn_of_missing_rollback(spec: Spec, stack: str) -> None:
    """Warn during a plain `pulumi up` that nothing obeys `onFailure: rollback`.

    A program cannot start another update after its own has failed.

    Args:
        spec: The lab.
        stack: Short name of the stack.
    """
    if spec.on_failure is not FailureAction.ROLLBACK or pulumi.runtime.is_dry_run():
        return
    if FAILURE_HANDLED_VARIABLE not in os.environ:
        pulumi.warn(
            "hardway:onFailure is rollback, but `pulumi up` does not roll back by itself. If it fails, "
            f"{command_line('rollback', stack)} returns to the configuration of the last successful update."
        )
