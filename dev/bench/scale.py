"""Measure how the program's time and memory grow with the number of workers.

Run as `python -m dev.bench.scale`. No engine, plugin or node takes part: Pulumi's mocks answer the program. Each
measurement is a separate process, so that its peak memory is its own. CPU time is measured, because the machine may
have other work.
"""

import gc
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf import struct_pb2
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import resource_pb2

from components import debug_log, stack_traces
from components.lab import Lab, LabArgs
from dev.bench.report import Figure, ratio, table
from lab.config.parse import parse
from lab.node.render import RenderedLab, render
from lab.spec import Spec
from system.commands import run
from system.files import CHECKOUT
from toolchain.vm_image import VmImage

SIZES = (10, 100, 1000)
"""Numbers of workers."""

MAX_GROWTH = 1.2
"""Limit for the time per worker at the largest size, as a multiple of that at the smallest."""

MODES = ("render", "resources")
"""`render` stops before the first resource; `resources` runs the whole program."""

IMAGE = VmImage(disk=Path("disk.qcow2"), key="image", kernel=Path("kernel"), initrd=Path("initrd"), command_line={})
DIGEST = "0" * 64
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PLUGIN_OUTPUTS = {
    "tls:index/privateKey:PrivateKey": {
        "privateKeyPem": "private key\n",
        "privateKeyOpenssh": "private key\n",
        "publicKeyOpenssh": "public key\n",
        "publicKeyFingerprintSha256": f"SHA256:{DIGEST}",
    },
    "tls:index/certRequest:CertRequest": {"certRequestPem": "request\n"},
    "tls:index/selfSignedCert:SelfSignedCert": {"certPem": CERTIFICATE},
    "tls:index/locallySignedCert:LocallySignedCert": {"certPem": CERTIFICATE},
    "command:remote:Command": {"stdout": "output"},
}
"""Outputs that the plugins add to a resource's inputs, by type."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Cost of one run of the program.

    Attributes:
        seconds: CPU time.
        memory: Peak of the process's memory, in MiB.
        resources: Number of registered resources.
    """

    seconds: float
    memory: float
    resources: int


class NoPlugins(mocks.Mocks):
    """Stands for the plugins, which are never called."""

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        """Fail, because the program calls no function of a plugin."""
        raise AssertionError(f"unexpected call of {args.token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        """Fail, because `EchoMonitor` answers instead."""
        raise AssertionError(f"unexpected resource {args.name}")


class EchoMonitor(mocks.MockMonitor):
    """An engine that creates every resource at once and returns its inputs as outputs."""

    def __init__(self) -> None:
        super().__init__(NoPlugins())
        self.count = 0

    def RegisterResource(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Return the resource as created."""
        urn = self.make_urn(request.parent, request.type, request.name)
        self.count += 1
        outputs = struct_pb2.Struct()
        outputs.CopyFrom(request.object)
        outputs.update(PLUGIN_OUTPUTS.get(request.type, {}))
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=outputs)


class NoHooks:
    """Replaces the server on which the engine calls hooks."""

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        """Accept a hook that is never called."""

    def register_error_hook(self, hook: pulumi.ErrorHook) -> None:
        """Accept a hook that is never called."""


def configuration(workers: int) -> dict[str, Any]:
    """Return the configuration of a lab with one control plane and this many workers."""
    return {
        "networkCidr": "10.240.0.0/16",
        "clusterCidr": "10.128.0.0/12",
        "virtualization": "qemu",
        "controlPlanes": [{"name": "server", "address": "10.240.0.10"}],
        "workers": [
            {
                "name": f"node-{number}",
                "address": f"10.240.{1 + number // 250}.{1 + number % 250}",
                "podCidr": f"10.{128 + number // 256}.{number % 256}.0/24",
            }
            for number in range(workers)
        ],
    }


def measure(mode: str, workers: int) -> Measurement:
    """Run the program in this process and return its cost. The program is run only once per process."""
    spec = parse(configuration(workers))
    # As __main__.py does.
    gc.disable()
    debug_log.silence()
    stack_traces.omit()
    monitor = EchoMonitor()
    mocks.set_mocks(monitor.mocks, project="hardway", stack="bench", preview=False, monitor=monitor)
    settings.SETTINGS.callbacks = NoHooks()
    before = time.process_time()
    rendered = render(spec)
    if mode == "resources":
        pulumi.runtime.test(lambda: _create(spec, rendered))()  # type: ignore[no-untyped-call]
    seconds = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measurement(seconds=seconds, memory=memory, resources=monitor.count)


def _create(spec: Spec, rendered: RenderedLab) -> None:
    digests = dict.fromkeys(rendered.artifacts, DIGEST)
    Lab(spec.name, LabArgs(spec=spec, rendered=rendered, image=IMAGE, digests=digests))


def _measure_apart(mode: str, workers: int) -> Measurement:
    """Return the cost of a run in a separate process."""
    command = [sys.executable, "-m", "dev.bench.scale", mode, str(workers)]
    printed = run(command, why=f"measuring {workers} workers", folder=CHECKOUT)
    return Measurement(**json.loads(printed))


def figures(results: dict[tuple[str, int], Measurement]) -> list[Figure]:
    """Return time per worker, peak memory and growth for each mode and size."""
    found = []
    for mode in MODES:
        for workers in SIZES:
            measured = results[mode, workers]
            name = f"{mode}, {workers} workers"
            found.append(
                Figure(name=f"{name}: CPU time per worker", value=measured.seconds / workers * 1000, unit="ms")
            )
            found.append(Figure(name=f"{name}: peak memory", value=measured.memory, unit="MiB"))
        smallest, largest = (results[mode, workers].seconds / workers for workers in (SIZES[0], SIZES[-1]))
        name = f"{mode}: time per worker, {SIZES[-1]} workers against {SIZES[0]}"
        found.append(ratio(name, largest, smallest, MAX_GROWTH))
    return found


def main(arguments: list[str]) -> int:
    """Print the figures of all modes and sizes; with a mode and a size, print that measurement as JSON."""
    if arguments:
        mode, workers = arguments
        print(json.dumps(vars(measure(mode, int(workers)))))
        return 0
    print(table(figures({(mode, workers): _measure_apart(mode, workers) for mode in MODES for workers in SIZES})))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
