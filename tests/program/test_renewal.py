"""The announcement of a renewal that has not begun."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi
import pytest

from tests.support.program_stack import changed, setting
from tests.support.recording import Provider, record


@pytest.mark.parametrize(("days", "announced"), [(38, False), (36, True), (29, False)])
def test_renewal_is_announced_in_the_week_before(monkeypatch: pytest.MonkeyPatch, days: int, announced: bool) -> None:
    end = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    outputs = Provider._outputs

    def with_end(provider: Provider, args: Any) -> dict[str, Any]:
        return outputs(provider, args) | ({"validityEndTime": end.isoformat()} if "Cert" in args.typ else {})

    warnings: list[str] = []
    monkeypatch.setattr(Provider, "_outputs", with_end)
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    record(changed(setting("certificateRenewalHours", 30 * 24)))
    beginning = f"From {end - timedelta(days=30):%Y-%m-%d %H:%M} UTC on, `hardway up` renews "
    assert sum(warning.startswith(beginning) for warning in warnings) == announced
