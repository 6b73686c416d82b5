"""The warning that a plain `pulumi up` does not roll back."""

import pulumi
import pytest

from components.rollback import warn_of_missing_rollback
from host.engine.rollback import FAILURE_HANDLED_VARIABLE
from tests.support.program_stack import changed, setting


@pytest.mark.parametrize(
    ("on_failure", "by_hardway", "is_preview", "warned"),
    [
        ("rollback", False, False, True),
        ("rollback", True, False, False),
        ("rollback", False, True, False),
        ("stop", False, False, False),
    ],
)
def test_only_a_plain_update_without_rollback_is_warned_of(
    on_failure: str, by_hardway: bool, is_preview: bool, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    monkeypatch.setattr(pulumi, "warn", texts.append)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: is_preview)
    monkeypatch.delenv(FAILURE_HANDLED_VARIABLE, raising=False)
    if by_hardway:
        monkeypatch.setenv(FAILURE_HANDLED_VARIABLE, "1")
    warn_of_missing_rollback(changed(setting("onFailure", on_failure)), "dev")
    assert ["hardway rollback --stack dev" in text for text in texts] == ([True] if warned else [])
