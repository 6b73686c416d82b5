"""The counter's frequency, as the kernel reports it for the first CPU."""

from pathlib import Path

import pytest

from host.machine.tsc import counter_mhz


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("processor\t: 0\ncpu MHz\t\t: 1196.122\nbogomips\t: 5192.24\n\nprocessor\t: 1\nbogomips\t: 5190.00\n", 2596),
        ("processor\t: 0\nbogomips\t: 4788.99\n", 2394),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp\n", None),
        ("", None),
    ],
)
def test_the_frequency_is_half_the_bogomips(tmp_path: Path, report: str, expected: int | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(report)
    assert counter_mhz(cpuinfo, tmp_path / "record") == expected


def test_the_first_result_holds_for_the_same_counter(tmp_path: Path) -> None:
    cpuinfo, record = tmp_path / "cpuinfo", tmp_path / "new" / "record"

    def measure(bogomips: str) -> int | None:
        cpuinfo.write_text(f"bogomips\t: {bogomips}\n")
        return counter_mhz(cpuinfo, record)

    # Rounded separately, these would give different numbers.
    assert [measure("5189.00"), measure("5189.02"), measure("5188.98")] == [2594, 2594, 2594]
    assert [measure("4788.99"), measure("4788.99")] == [2394, 2394], "another CPU has another counter"


def test_an_empty_record_is_written_again(tmp_path: Path) -> None:
    cpuinfo, record = tmp_path / "cpuinfo", tmp_path / "record"
    cpuinfo.write_text("bogomips\t: 5189.02\n")
    record.touch()
    assert counter_mhz(cpuinfo, record) == 2595
    assert record.read_text() == "2595\n"
