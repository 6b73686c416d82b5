"""`assets/node/journal-errors` with the logs of programs that ended, as those programs wrote them."""

import subprocess

import pytest

from lab.node.units import ASSETS

EXITED = "kubelet.service: Main process exited, code=exited, status=1/FAILURE"

LOGS = {
    "kubelet": (
        r"""
I1128 18:21:11.865252       1 flags.go:64] FLAG: --address="0.0.0.0"
I1128 18:21:11.865337       1 flags.go:64] FLAG: --error-prefix="invalid"
I1128 18:21:11.867900       1 feature_gate.go:477] "Updated" featureGates={}
E1128 18:21:11.868085       1 run.go:72] "command failed" err="failed to validate kubelet configuration, error: \
invalid configuration: shutdownGracePeriodCriticalPods {1h0m0s} must be <= shutdownGracePeriod {30s}"
""",
        ["invalid configuration: shutdownGracePeriodCriticalPods {1h0m0s} must be <="],
    ),
    "kubelet with an unknown flag": (
        'E1128 18:21:12.1 1 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --no-such"',
        ["unknown flag: --no-such"],
    ),
    "kubelet with an error of several lines": (
        """
E1128 18:21:12.142419       1 kubelet.go:1703] "Failed to start ContainerManager" err=<
\tcould not restore state from checkpoint:
\tplease drain this node
 >
I1128 18:21:12.142500       1 server.go:1] "After it"
""",
        ['ContainerManager" err=< could not restore state from checkpoint: please drain this node >'],
    ),
    "kube-apiserver": (
        """
I1128 18:21:12.503360       1 flags.go:64] FLAG: --watch-cache-sizes="[]"
E1128 18:21:12.503380       1 run.go:72] "command failed" err="service-cluster-ip-range[0] is not a valid cidr"
""",
        ["service-cluster-ip-range[0] is not a valid cidr"],
    ),
    "kube-apiserver with an unknown flag": (
        """
Usage:
  kube-apiserver [flags]
      --fail-something duration   The error that fails.
Error: unknown flag: --nosuch
""",
        ["Error: unknown flag: --nosuch"],
    ),
    "kube-proxy": (
        r"""
I1128 18:21:12.704790       1 feature_gate.go:477] "Updated" featureGates={}
E1128 18:21:12.704838       1 run.go:72] "command failed" err="failed validate: Mode: Invalid value: \"ebpf\""
""",
        ["failed validate: Mode: Invalid value"],
    ),
    "etcd": (
        r"""
{"level":"info","ts":"2026-11-28T18:21:12.752180Z","caller":"embed/etcd.go:146","msg":"configuring client listeners"}
{"level":"error","ts":"2026-11-28T18:21:12.752294Z","caller":"a.go:1","msg":"bootstrap failed","error":"cannot access \
data directory","stacktrace":"go.etcd.io/etcd\n\tserver.go:309"}
{"level":"info","ts":"2026-11-28T18:21:12.752366Z","caller":"embed/etcd.go:428","msg":"closed etcd server"}
{"level":"fatal","ts":"2026-11-28T18:21:12.759311Z","caller":"b.go:2","msg":"discovery failed","error":"cannot access \
data directory","stacktrace":"go.etcd.io/etcd\n\tetcd.go:183"}
""",
        ['"msg":"bootstrap failed","error":"cannot access data directory"}', '"msg":"discovery failed"'],
    ),
    "containerd": (
        """
time="2026-11-28T18:22:12Z" level=warning msg="Configuration migrated, no error"
time="2026-11-28T18:22:12Z" level=error msg="Failure unmarshaling TOML" error="toml: array is incomplete" row=2
containerd: failed to unmarshal TOML at row 2 column 10: toml: array is incomplete
""",
        ["level=error", "containerd: failed to unmarshal TOML at row 2"],
    ),
    "panic": (
        """
I1128 18:21:12.142419       1 server.go:1] "Starting"
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]

goroutine 1 [running]:
main.failed(0x1)
\t/src/error.go:4 +0x1d
created by main.main in goroutine 1

goroutine 7 [chan receive]:
main.wait(0x1)
kubelet.service: Main process exited, code=exited, status=2/INVALIDARGUMENT
""",
        ["panic: runtime error: invalid memory address"],
    ),
    "program that systemd cannot start": (
        "kubelet.service: Failed at step EXEC spawning /usr/local/bin/kubelet: Exec format error",
        ["Exec format error"],
    ),
}


def select(log: str) -> tuple[list[str], list[str]]:
    """Return the errors and the last lines that the program prints for a log."""
    text = log.strip("\n").replace("\\\n", "") + "\n"
    done = subprocess.run([ASSETS / "node/journal-errors"], input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    before, _, last = done.stdout.partition("The last lines of its journal:\n")
    return before.splitlines()[1:], last.splitlines()


@pytest.mark.parametrize("program", LOGS)
def test_errors_are_those_of_the_program(program: str) -> None:
    log, expected = LOGS[program]
    errors, others = select(log)
    assert len(errors) == len(expected)
    for error, part in zip(errors, expected, strict=True):
        assert part in error
    assert not [line for line in [*errors, *others] if "FLAG: " in line or "stacktrace" in line or "goroutine" in line]


def test_lines_of_systemd_follow_the_errors() -> None:
    assert select(f"Started kubelet.\n{LOGS['kube-proxy'][0]}\n{EXITED}")[1][-1] == f"  {EXITED}"


def test_repeated_error_is_printed_once() -> None:
    errors, _ = select(
        "\n".join(f'E1128 18:21:{second}.503380       1 a.go:1] "no lease" err="refused"' for second in range(10, 60))
        + "\n"
        + "\n".join(f"2026/11/28 18:21:{second} dial failed" for second in range(10, 60))
    )
    assert [error.split()[-1] for error in errors] == ['err="refused"', "failed"]


def test_only_the_last_errors_are_printed() -> None:
    errors, others = select("\n".join(f"error {number}\nline {number}" for number in range(30)))
    assert errors == [f"  error {number}" for number in range(20, 30)]
    assert others == [f"  line {number}" for number in range(25, 30)]


def test_log_without_errors_has_more_last_lines() -> None:
    # etcd only warns about flags that contradict each other, and ends.
    warning = '{"level":"warn","ts":"2026-11-28T18:21:12Z","msg":"failed to verify flags","error":"a is required"}'
    errors, others = select("\n".join([*(f"line {number}" for number in range(30)), warning]))
    assert errors == []
    assert others == [*(f"  line {number}" for number in range(11, 30)), f"  {warning}"]


def test_empty_journal_prints_nothing() -> None:
    assert select("") == ([], [])
