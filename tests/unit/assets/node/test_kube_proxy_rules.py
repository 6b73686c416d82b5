"""`assets/node/kube-proxy-rules` with a fake kube-proxy and fake rules."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

IPTABLES_RULES = "*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\nCOMMIT"
IPVS_RULES = "*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-IPVS-FILTER - [0:0]\n:KUBE-FORWARD - [0:0]\nCOMMIT"


def calls(folder: Path, *arguments: str, rules: str = "", interface: bool = False) -> list[str]:
    """Run the program and return the calls of kube-proxy and systemctl.

    Args:
        folder: The folder of the fake programs.
        *arguments: The arguments, where PROGRAM is replaced by kube-proxy's path.
        rules: The output of iptables-save.
        interface: True if the interface of mode ipvs exists.
    """
    put(folder, "iptables-save", f"printf '{rules}\\n'")
    put(folder, "kube-proxy", f'echo "kube-proxy $*" >> {folder}/calls')
    put(folder, "systemctl", f'echo "systemctl $*" >> {folder}/calls')
    program = install(folder / "node") / "kube-proxy-rules"
    if interface:
        (folder / "kube-ipvs0").touch()
    program.write_text(program.read_text().replace("/sys/class/net", str(folder)))
    subprocess.run(
        [program, *(each.replace("PROGRAM", str(folder / "kube-proxy")) for each in arguments)],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        check=True,
    )
    record = folder / "calls"
    return record.read_text().splitlines() if record.exists() else []


@pytest.mark.parametrize(
    ("mode", "rules", "interface"),
    [("ipvs", IPTABLES_RULES, False), ("iptables", IPVS_RULES, True)],
    ids=["iptables to ipvs", "ipvs to iptables"],
)
def test_rules_of_the_other_mode_are_deleted(tmp_path: Path, mode: str, rules: str, interface: bool) -> None:
    found = calls(tmp_path, "prepare", "PROGRAM", mode, rules=rules, interface=interface)
    assert found == ["kube-proxy --cleanup"]


@pytest.mark.parametrize(
    ("mode", "rules", "interface"),
    [
        ("iptables", IPTABLES_RULES, False),
        ("ipvs", IPVS_RULES, True),
        ("nftables", IPTABLES_RULES, True),
        ("iptables", "", False),
        ("ipvs", "", False),
    ],
    ids=["iptables again", "ipvs again", "nftables, which kube-proxy cleans for", "first start", "first start of ipvs"],
)
def test_other_starts_delete_nothing(tmp_path: Path, mode: str, rules: str, interface: bool) -> None:
    assert calls(tmp_path, "prepare", "PROGRAM", mode, rules=rules, interface=interface) == []


def test_kube_proxy_stops_before_its_rules_are_deleted(tmp_path: Path) -> None:
    assert calls(tmp_path, "delete", "PROGRAM") == ["systemctl stop kube-proxy.service", "kube-proxy --cleanup"]


def test_removal_succeeds_again_after_an_interruption(tmp_path: Path) -> None:
    put(tmp_path, "systemctl", "exit 5")
    program = install(tmp_path / "node") / "kube-proxy-rules"
    subprocess.run(
        [program, "delete", str(tmp_path / "missing")], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True
    )
