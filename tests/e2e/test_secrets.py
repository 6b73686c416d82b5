"""Private keys never show in output, state, journals or process lists."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.running_lab import RunningLab

KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.+?)-----END", re.DOTALL)


def secrets(lab: RunningLab) -> set[str]:
    """Return texts that identify each private key of the stack: its last full line, and its start in base64."""
    exported = json.loads(lab.run("pulumi", "stack", "export", "--stack", "dev", "--show-secrets", record=False).stdout)
    known = set()
    for text in _texts(exported):
        for key in KEY.finditer(text.replace("\\n", "\n")):
            # The first lines of an SSH key only name its type. The last one may be short.
            known.add(key[1].split()[-2:][0])
            known.add(base64.b64encode(key[0].encode()).decode()[:160])
    return known


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def test_private_keys_never_show(lab: RunningLab) -> None:
    keys = secrets(lab)
    assert len(keys) > 15
    # The highest level that keeps secrets. From 8 on the engine logs every value, as its documentation warns.
    verbose = ("--debug", "--verbose=7", "--logtostderr")
    change = lab.up(*verbose)
    assert change.succeeded, change.output
    assert "ResourceMonitor.RegisterResourceOutputs received" in change.output
    with lab.configured(kubelet={"shutdownGracePeriodCriticalPods": "1h"}):
        lab.run("pulumi", "preview", "--stack", "dev", "--diff", "--non-interactive", *verbose)
        assert not lab.up(*verbose).succeeded
    assert lab.up(*verbose).succeeded
    places = {
        "the output of all commands": "".join(lab.printed),
        "the state": "".join(
            path.read_text(errors="replace") for path in lab.workspace.state.rglob("*.json*") if path.is_file()
        ),
        "the processes of this machine": lab.run("in-lab", "ps", "auxeww").stdout,
    }
    for node in lab.nodes:
        places[f"the journal of {node}"] = lab.ssh(node, "journalctl --no-pager --output cat", record=False)
        places[f"the processes of {node}"] = lab.ssh(node, "ps auxeww", record=False)
    for place, text in places.items():
        assert not [key for key in keys if key in text], place
