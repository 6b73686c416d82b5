"""VMs that stop and continue with their memory, all of them at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from system.commands import attempt, quote, run
from system.errors import HostError

RUNNING = "running"
PAUSED = "paused"
SHUT_OFF = "shut off"
SAVED = "saved"
"""State of a VM that is shut off, and whose memory libvirt has saved: its managed save."""

_MAX_AT_A_TIME = 4
"""Number of VMs whose memory is written or read at the same time. More would only compete for the disk."""


@dataclass(frozen=True, kw_only=True)
class Vms:
    """VMs in one libvirt daemon.

    Attributes:
        uri: URI of the daemon.
        names: The VMs.
        program: virsh. The one of `.lab/bin` enters the namespaces of a private libvirt.
    """

    uri: str
    names: Sequence[str]
    program: str | Path = "virsh"

    def states(self) -> Mapping[str, str]:
        """Return the state of each VM that exists, in libvirt's words.

        Raises:
            HostError: libvirt does not answer.
        """
        found = parse_states(self._run("listing the VMs", "list", "--all", "--managed-save"), has_id=True)
        return {name: found[name] for name in self.names if name in found}

    def uuids(self) -> Mapping[str, str]:
        """Return the UUID of each VM that exists.

        Raises:
            HostError: libvirt does not answer.
        """
        listed = self._run("listing the VMs", "list", "--all", "--uuid", "--name")
        found = {name: uuid for uuid, name in (line.split() for line in listed.splitlines() if line.strip())}
        return {name: found[name] for name in self.names if name in found}

    def memory(self) -> int:
        """Return the bytes of memory that all VMs have together.

        Raises:
            HostError: libvirt does not describe them.
        """
        described = self._run("reading the size of the VMs", self._script("dominfo"))
        lines = (line.split() for line in described.splitlines() if line.startswith("Max memory:"))
        return sum(int(words[2]) * 1024 for words in lines)

    def disks(self, name: str) -> list[str]:
        """Return the files of a VM's disks, as libvirt sees them.

        Raises:
            HostError: libvirt does not describe them.
        """
        described = ElementTree.fromstring(self._run("reading the disks of the VMs", "dumpxml", name))
        sources = [source.attrib for source in described.iterfind("./devices/disk/source")]
        return [self._file(source) for source in sources if source.keys() & {"file", "volume"}]

    def _file(self, source: Mapping[str, str]) -> str:
        if "file" in source:
            return source["file"]
        command = ("vol-path", "--pool", source["pool"], source["volume"])
        return self._run("finding the disks of the VMs", *command).strip()

    def save(self) -> None:
        """Pause all VMs that run within a moment, save their memory, and shut them off.

        They do not start by themselves when the machine boots, and run from where they were when `start` restores them.

        Raises:
            HostError: The memory of a VM cannot be saved. VMs may be paused or saved then: `start` lets all continue.
        """
        names = self._find(RUNNING, PAUSED)
        self._all("suspend", names)
        self._all("autostart --disable", names)
        self._each("managedsave", names, "--running")

    def start(self) -> None:
        """Restore the memory of saved VMs, start those that are off, and let all of them run from the same moment.

        Raises:
            HostError: A VM does not start.
        """
        self.load()
        self.resume()

    def load(self) -> None:
        """Restore the memory of saved VMs, and start those that are off. None of them runs until `resume`.

        Raises:
            HostError: A VM does not start.
        """
        self._each("start", self._find(SAVED, SHUT_OFF), "--paused")

    def resume(self) -> None:
        """Let paused VMs run. All VMs start when the machine boots.

        Raises:
            HostError: virsh reports an error.
        """
        self._all("autostart", self.names)
        self._all("resume", self._find(PAUSED))

    def restore(self, files: Mapping[str, Path]) -> None:
        """Restore the memory of VMs that are off from files, and let all of them run from the same moment.

        Args:
            files: Saved memory of each VM, which stays.

        Raises:
            HostError: A VM cannot be restored.
        """
        self._at_a_time(self.names, lambda name: ["restore", str(files[name]), "--paused"])
        self.resume()

    def discard(self) -> None:
        """Shut the VMs off at once, and drop their memory. They do not start by themselves when the machine boots.

        Raises:
            HostError: virsh reports an error.
        """
        self._all("autostart --disable", self.names)
        self._all("destroy", self._find(RUNNING, PAUSED, "pmsuspended"))
        self._all("managedsave-remove", self._find(SAVED))

    def _find(self, *wanted: str) -> list[str]:
        return [name for name, state in self.states().items() if state in wanted]

    def _script(self, command: str, names: Collection[str] | None = None) -> str:
        return "; ".join(f"{command} {name}" for name in (self.names if names is None else names))

    def _all(self, command: str, names: Collection[str]) -> None:
        """Run a command for several VMs in one process, one right after the other."""
        if not names:
            return
        result = attempt([*self._virsh, self._script(command, names)], environment={"LC_ALL": "C"})
        # virsh continues after an error, and exits with the result of the last command.
        if result.returncode != 0 or "error:" in result.stderr:
            raise HostError(f"`virsh {command}` failed for {' or '.join(names)}:\n{quote(result)}")

    def _each(self, command: str, names: Collection[str], option: str) -> None:
        """Run a command for several VMs, some at the same time."""
        self._at_a_time(names, lambda name: [command, name, option])

    def _at_a_time(self, names: Collection[str], command_of: Callable[[str], list[str]]) -> None:
        with ThreadPoolExecutor(max_workers=_MAX_AT_A_TIME) as pool:
            for _ in pool.map(lambda name: self._run(f"VM {name}", *command_of(name)), names):
                pass

    def _run(self, why: str, *command: str) -> str:
        return run([*self._virsh, *command], why=why, environment={"LC_ALL": "C"}, error=HostError)

    @property
    def _virsh(self) -> list[str | Path]:
        return [self.program, "--connect", self.uri]


def parse_states(table: str, *, has_id: bool) -> dict[str, str]:
    """Return the state of each object in a table of virsh: `Id Name State`, or `Name State` and more columns."""
    lines = table.splitlines()
    rows = lines[next((number for number, line in enumerate(lines, 1) if line.startswith("-----")), len(lines)) :]
    cells = [row.split(maxsplit=2)[1:] if has_id else row.split()[:2] for row in rows]
    return {cell[0]: cell[1].strip() for cell in cells if len(cell) == 2}
