"""A virsh whose VMs are a JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.fake_programs import put

_PROGRAM = """
import fcntl, json, pathlib, sys
folder = pathlib.Path(__file__).parent
file = folder / "vms.json"
seen = (folder / "seen").read_text()
NEXT = {
    "suspend": ({"running", "paused"}, "paused"), "resume": ({"running", "paused"}, "running"),
    "managedsave": ({"running", "paused"}, "saved"), "managedsave-remove": ({"saved"}, "shut off"),
    "destroy": ({"running", "paused"}, "shut off"), "autostart": (None, None),
}
lock = open(folder / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
uri, *words = sys.argv[sys.argv.index("--connect") + 1 :]
if (folder / f"silent-{uri.replace('/', '-')}").exists():
    sys.exit(f"error: failed to connect to {uri}")
script = words[0].split("; ") if len(words) == 1 else [" ".join(words)]
code = 0
for line in script:
    command, *rest = line.split()
    vms = json.loads(file.read_text())
    names = [word for word in rest if word in vms]
    code = 0
    if command == "list":
        if "--uuid" in rest:
            print("".join(f"uuid-{name} {name}\\n" for name in vms))
        else:
            print(" Id   Name   State\\n-----------------")
            for name, state in vms.items():
                print(f" {'-' if state in ('saved', 'shut off') else 1}    {name}   {state}")
        continue
    if command == "dominfo":
        print("Max memory:     1048576 KiB\\nManaged save:   no")
        continue
    if command == "dumpxml":
        sources = f"file='{seen}/{names[0]}.qcow2'", f"pool='lab' volume='{names[0]}.iso'", "dev='/dev/sr0'"
        disks = "".join(f"<disk><source {source}/></disk>" for source in sources)
        network = "<interface><source network='net'/></interface>"
        print(f"<domain><name>{names[0]}</name><devices>{disks}{network}</devices></domain>")
        continue
    if command in ("pool-dumpxml", "net-dumpxml"):
        kind = command.removesuffix('-dumpxml')
        print(f"<{kind}><name>{rest[-1]}</name><bridge name='bridge0'/></{kind}>")
        continue
    if command == "vol-path":
        print(f"{seen}/{rest[-1]}\\n")
        continue
    if command.endswith("define"):
        name = sys.stdin.read().partition("<name>")[2].partition("</name>")[0]
        line = f"{command} {name}"
    with (folder / "calls").open("a") as log:
        log.write(line + "\\n")
    if command == "define":
        vms[name] = "shut off"
        file.write_text(json.dumps(vms))
    if command.startswith(("pool-", "net-", "define")):
        continue
    [name] = names or [pathlib.Path(rest[0]).stem]
    if (folder / f"refuses-{command}-{name}").exists():
        print(f"error: {name} has a device that cannot be saved", file=sys.stderr)
        code = 1
        continue
    if command in ("start", "restore"):
        allowed, state = {"saved", "shut off"}, "paused" if "--paused" in rest else "running"
    else:
        allowed, state = NEXT[command]
    if allowed and vms[name] not in allowed:
        print(f"error: domain is {vms[name]}", file=sys.stderr)
        code = 1
        continue
    saved = folder / f"qemu/save/{name}.save"
    if command == "managedsave":
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(f"memory of {name}")
    elif command == "start" or (vms[name] == "saved" and state != "saved"):
        saved.unlink(missing_ok=True)
    vms[name] = state or vms[name]
    file.write_text(json.dumps(vms))
sys.exit(code)
"""


class FakeVirsh:
    """A program `virsh` in a folder.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, vms: Mapping[str, str], seen: Path | None = None) -> None:
        """Create the program.

        Args:
            folder: The folder.
            vms: The states of the VMs.
            seen: The folder of the disks, as libvirt sees it. Default: the folder itself.
        """
        self.folder = folder
        (folder / "seen").write_text(str(seen or folder))
        (folder / "virsh.py").write_text(_PROGRAM)
        put(folder, "virsh", f'exec {sys.executable} -S {folder}/virsh.py "$@"')
        self.set(vms)

    def set(self, vms: Mapping[str, str]) -> None:
        """Set the states of the VMs."""
        (self.folder / "vms.json").write_text(json.dumps(dict(vms)))

    def states(self) -> dict[str, str]:
        """Return the states of the VMs."""
        found: dict[str, str] = json.loads((self.folder / "vms.json").read_text())
        return found

    def refuse(self, command: str, vm: str) -> None:
        """Make a command fail for a VM."""
        (self.folder / f"refuses-{command}-{vm}").touch()

    def silence(self, uri: str) -> None:
        """Make a daemon not answer. All daemons have the same VMs."""
        (self.folder / f"silent-{uri.replace('/', '-')}").touch()

    def answer(self, uri: str) -> None:
        """Make a daemon answer again."""
        (self.folder / f"silent-{uri.replace('/', '-')}").unlink()

    def calls(self) -> list[str]:
        """Return the commands that change something."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []
