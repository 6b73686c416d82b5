"""How fast the machine's counter counts is known from what its kernel says of the first CPU."""

from pathlib import Path

import pytest

from host.machine.tsc import counter_mhz


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
    assert counter_mhz(cpuinfo, tmp_path / "record") == expected


def test_what_was_found_first_holds_for_as_long_as_the_counter_is_the_same(tmp_path: Path) -> None:
    cpuinfo, record = tmp_path / "cpuinfo", tmp_path / "new" / "record"

    def found(bogomips: str) -> int | None:
        cpuinfo.write_text(f"bogomips\t: {bogomips}\n")
        return counter_mhz(cpuinfo, record)

    # By itself, each of these would be rounded to another number.
    assert [found("5189.00"), found("5189.02"), found("5188.98")] == [2594, 2594, 2594]
    assert [found("4788.99"), found("4788.99")] == [2394, 2394], "on another CPU it is another counter"


def test_a_record_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    cpuinfo, record = tmp_path / "cpuinfo", tmp_path / "record"
    cpuinfo.write_text("bogomips\t: 5189.02\n")
    record.touch()
    assert counter_mhz(cpuinfo, record) == 2595
    assert record.read_text() == "2595\n"
