"""How fast the machine's counter counts is known from what its kernel says of the first CPU."""

from pathlib import Path

import pytest

from host.clock import counter_mhz


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("processor\t: 0\ncpu MHz\t\t: 1196.122\nbogomips\t: 5192.24\n\nprocessor\t: 1\nbogomips\t: 5190.00\n", 2596),
        ("processor\t: 0\nbogomips\t: 4788.99\n", 2394),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp\n", None),
        ("", None),
    ],
)
def test_the_counter_runs_at_half_the_bogomips_of_the_first_cpu(
    tmp_path: Path, said: str, expected: int | None
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(said)
    assert counter_mhz(cpuinfo) == expected
