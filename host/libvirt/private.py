"""libvirt: the system's libvirtd if it answers, otherwise a private one in its own namespaces.

A private libvirt is a folder (the instance) and a process (the holder) in its own mount and network namespaces. Inside,
libvirt's daemons see the instance's folders at their usual paths, and the VMs have a network that nobody else sees.
Their egress needs no change of the machine's own network. The namespaces live as long as the holder, at most until the
next boot. The instance stays, so everything with autostart comes up again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from host.libvirt import namespace
from host.machine.packages import has_systemd
from system import console, processes
from system.commands import attempt, run
from system.errors import HostError
from system.files import CHECKOUT, locked, write_atomically
from system.netns import NAMESPACE_VARIABLE, is_inside
from system.processes import Process

URI = "qemu:///system"

HOLDER = "holder"
"""File of the instance that records the process that holds the namespaces."""
BOOT_VARIABLE = "HARDWAY_BOOT"
"""Variable of the commands whose effect ends with a network namespace. Its value is `namespace_start`."""
OWNER = "owner"
"""File that records the owner: the instance is abandoned when this process ends."""
_KVM_WORKS = "kvm-serves"
"""File that records the last value of `kvm` in `start`. Instances of earlier versions have the same."""
_LOG = "holder.log"
_START_TIMEOUT = 60.0
"""Seconds until libvirtd answers."""
_ANSWER_TIMEOUT = 30.0
"""Seconds for one call of virsh."""
_LIBVIRT_FOLDER = "lib"

_CONFIGURATION = {
    # Only root can enter the private mount namespace with the socket, so everybody who reaches it may use it.
    "libvirtd.conf": """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
""",
    "virtlogd.conf": """\
log_outputs = "3:file:/var/log/libvirt/virtlogd.log"
""",
    # A mount namespace for each VM would need udev's /dev. No security driver knows the private folders. Core dumps
    # would contain keys. And sudo forbids them, so libvirt's default of unlimited dumps fails in a container.
    "qemu.conf": """\
user = "root"
group = "root"
namespaces = []
security_driver = "none"
max_core = 0
""",
}
_HOOK = CHECKOUT / "assets/host/qemu-hook"
# The same accounts as those of Debian's package for the system's libvirtd, which needs an init system.
_ACCOUNT = {
    "passwd": "libvirt-qemu:x:64055:64055:Libvirt Qemu,,,:/var/lib/libvirt:/usr/sbin/nologin\n",
    "group": "libvirt-qemu:x:64055:\n",
}

# Keep the machine's own network namespace reachable, then run the command in a new one.
_LEAVE_NETWORK = 'mount --bind "/proc/$$/ns/net" "$1" && shift && exec unshare --net "$@"'


def system_libvirt_answers() -> bool:
    """Return True if systemd runs here and the system's libvirtd answers this user."""
    if not has_systemd() or shutil.which("virsh") is None:
        return False
    return _virsh_answers([])


def _virsh_answers(prefix: Sequence[str]) -> bool:
    command = [*prefix, "virsh", "--connect", URI, "uri"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return attempt(command, timeout=_ANSWER_TIMEOUT).returncode == 0
    return False


def namespace_start(instance: Path | None) -> str:
    """Identify this start of the network namespace of the VMs.

    Args:
        instance: Folder of the private libvirt; None for the network of this machine.
    """
    return (instance / HOLDER).read_text().strip() if instance else processes.boot_id()


class PrivateLibvirt:
    """A private libvirt. Needs root.

    Attributes:
        instance: Its folder.
    """

    def __init__(self, instance: Path) -> None:
        self.instance = instance.resolve()

    def start(self, *, kvm: bool | None = None, owner: int | None = None) -> None:
        """Start it unless it runs, and return when it answers. Print the reason if VMs have no egress.

        Args:
            kvm: True if /dev/kvm works; otherwise it is hidden. None for the value of the last start, at first False.
            owner: PID of a process. Once it has ended, `sweep` may purge this instance. None to keep the instance.

        Raises:
            HostError: It does not come up.
        """
        if os.geteuid() != 0:
            raise HostError("A private libvirt needs root, because it creates namespaces and bridges. Use sudo.")
        with self._locked():
            if kvm is not None:
                (self.instance / _KVM_WORKS).write_text("yes" if kvm else "no")
            holder = self._holder()
            # The holder restarts a libvirtd that has died, and VMs continue.
            if holder is not None and self._wait_for_answer(holder):
                if kvm is not None:
                    self._show_kvm(holder, kvm)
                self._report_missing_egress()
                return
            if is_inside():
                raise HostError(
                    "This shell is inside a lab's network, where no libvirt can be started. Leave it and try again."
                )
            self._end_processes()
            self._create_files(owner)
            holder = self._launch()
            if not self._wait_for_answer(holder):
                failure = self._failure(f"did not answer within {_START_TIMEOUT:.0f} s" if holder.alive() else "ended")
                self._end_processes()
                raise HostError(failure)
            self._report_missing_egress()
            self._warm_up(holder)

    def running(self) -> bool:
        """Return True if the namespaces exist."""
        return self._holder() is not None

    def enter(self, command: Sequence[str] = ()) -> list[str]:
        """Return the command line that runs `command` inside, in the current folder.

        The command finds the path of the machine's own network namespace in the variable HARDWAY_NAMESPACE, so that
        `nsenter --net=$HARDWAY_NAMESPACE` leads back. Nothing is forked: terminal, signals and exit code are the
        command's own.

        Raises:
            HostError: The private libvirt does not run.
        """
        holder = self._holder()
        if holder is None:
            raise HostError(f"The private libvirt in {self.instance} does not run. Start it: make prepare")
        return [*self._prefix(holder), *command]

    def stop(self) -> None:
        """End the VMs and all other processes in the namespaces. Definitions stay, and `start` brings them up again."""
        if self.instance.is_dir():
            with self._locked():
                self._end_processes()
                (self.instance / HOLDER).unlink(missing_ok=True)

    def purge(self) -> None:
        """End all processes in the namespaces and delete the instance."""
        self.stop()
        if self.instance.is_dir():
            shutil.rmtree(self.instance)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.instance.mkdir(parents=True, exist_ok=True)
        with locked(self.instance / "lock"):
            yield

    def _holder(self) -> Process | None:
        """Return the process that holds the namespaces. None if it does not run."""
        holder = processes.read(self.instance / HOLDER)
        return holder if holder is not None and holder.alive() else None

    def _prefix(self, holder: Process) -> list[str]:
        return [
            *("nsenter", "--target", str(holder.pid), "--mount", "--net", f"--wdns={Path.cwd()}"),
            *("env", f"{NAMESPACE_VARIABLE}={self.instance / namespace.MACHINE_NETWORK}"),
        ]

    def _create_files(self, owner: int | None) -> None:
        for name, place in namespace.BOUND.items():
            (self.instance / name).mkdir(exist_ok=True)
            place.mkdir(parents=True, exist_ok=True)
        # A VM's disk contains its keys. QEMU and libvirtd run as root here, and nobody else needs the volumes.
        images = self.instance / _LIBVIRT_FOLDER / "images"
        images.mkdir(exist_ok=True)
        images.chmod(0o700)
        namespace.RUNTIME.mkdir(parents=True, exist_ok=True)
        for name, text in _CONFIGURATION.items():
            (self.instance / "etc" / name).write_text(text)
        hooks = self.instance / "etc" / "hooks"
        hooks.mkdir(exist_ok=True)
        shutil.copy(_HOOK, hooks / "qemu")
        for name, place in namespace.ACCOUNTS.items():
            accounts = place.read_text()
            if not any(line.startswith("libvirt-qemu:") for line in accounts.splitlines()):
                accounts += _ACCOUNT[name]
            (self.instance / name).write_text(accounts)
        for name in ("kvm", namespace.MACHINE_NETWORK):
            (self.instance / name).touch()
        if owner is not None:
            (self.instance / OWNER).write_text(str(Process.of(owner)))

    def _launch(self) -> Process:
        with (self.instance / _LOG).open("w") as log:
            # Later mounts of the machine appear inside. Mounts from inside do not appear outside.
            child = subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation", "slave", "sh", "-c", _LEAVE_NETWORK, "sh"),
                    *(
                        str(self.instance / namespace.MACHINE_NETWORK),
                        sys.executable,
                        "-m",
                        "host.libvirt.namespace",
                        str(self.instance),
                        "kvm" if self._kvm_works() else "emulation",
                    ),
                ],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        holder = Process.of(child.pid)
        if holder is None:
            raise HostError(self._failure("ended at once"))
        write_atomically(self.instance / HOLDER, str(holder), 0o644)
        return holder

    def _wait_for_answer(self, holder: Process) -> bool:
        """Return True as soon as libvirtd answers, and False if the holder ends or the timeout passes first."""
        deadline = time.monotonic() + _START_TIMEOUT
        while holder.alive():
            if _virsh_answers(self._prefix(holder)):
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return False

    def _kvm_works(self) -> bool:
        """Return the last value of `kvm` in `start`."""
        record = self.instance / _KVM_WORKS
        return record.exists() and record.read_text() == "yes"

    def _kvm_shown(self, holder: Process) -> bool:
        return Path(f"/proc/{holder.pid}/root{namespace.KVM}").is_char_device()

    def _show_kvm(self, holder: Process, works: bool) -> None:
        """Show or hide /dev/kvm for VMs that start from now on. Running VMs continue."""
        if works == self._kvm_shown(holder) or not namespace.KVM.exists():
            return
        for command in namespace.showing_kvm() if works else namespace.hiding_kvm(self.instance):
            run([*self._prefix(holder), *command], why="showing or hiding /dev/kvm", error=HostError)

    def _warm_up(self, holder: Process) -> None:
        """Let libvirtd probe QEMU in the background. Otherwise the first VM waits some seconds for it."""
        subprocess.Popen(
            [*self._prefix(holder), "virsh", "--connect", URI, "capabilities"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _report_missing_egress(self) -> None:
        record = self.instance / namespace.NO_EGRESS
        if record.exists():
            console.note(f"VMs cannot reach the internet, such as registries (no egress): {record.read_text()}")

    def _failure(self, problem: str) -> str:
        lines = []
        for log in (self.instance / _LOG, self.instance / "log" / "libvirtd.log"):
            if log.exists():
                lines += [f"  {log}: {line}" for line in log.read_text(errors="replace").splitlines()[-5:]]
        return "\n".join([f"The private libvirt {problem}. The last lines of its logs:", *lines])

    def _end_processes(self) -> None:
        """End the holder first, so that it restarts no daemon, then VMs, dnsmasq and commands that were entered."""
        if (holder := self._holder()) is not None:
            processes.end([holder])
        processes.end(self._inside())

    def _inside(self) -> list[Process]:
        """Return the processes in the instance's namespaces, with or without a holder.

        These are the network namespaces of all processes that see the instance's folder as /var/lib/libvirt. A recorded
        namespace number would not do, because the kernel reuses the number of a deleted namespace.
        """
        try:
            own = (self.instance / _LIBVIRT_FOLDER).stat()
        except FileNotFoundError:
            return []
        machine_network = Path("/proc/self/ns/net").stat().st_ino
        member_of: dict[int, int] = {}
        private: set[int] = set()
        for pid in processes.every():
            try:
                network = Path(f"/proc/{pid}/ns/net").stat().st_ino
                if network == machine_network:
                    continue
                member_of[pid] = network
                seen = Path(f"/proc/{pid}/root{namespace.BOUND[_LIBVIRT_FOLDER]}").stat()
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) == (own.st_dev, own.st_ino):
                private.add(network)
        ancestors = processes.ancestors()
        found = [Process.of(pid) for pid, network in member_of.items() if network in private and pid not in ancestors]
        return [process for process in found if process is not None]


def sweep(instances: Path) -> list[Path]:
    """Purge the abandoned instances in a folder and return their folders.

    An instance is abandoned if its owner has ended. One without an owner stays.
    """
    swept = []
    for record in sorted(instances.glob(f"*/{OWNER}")):
        owner = processes.read(record)
        if owner is None or not owner.alive():
            PrivateLibvirt(record.parent).purge()
            swept.append(record.parent)
    return swept
