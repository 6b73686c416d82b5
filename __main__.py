"""Creates the lab that the stack's configuration describes and exports how to use it."""

import gc
import os
from datetime import UTC, datetime
from pathlib import Path

import pulumi

from components import artifacts, confirmation, debug_log, outage, stack_traces
from components.lab import Lab, LabArgs
from components.removed_apis import warn_of_removed_apis
from components.resource_count import ResourceCount
from components.rollback import warn_of_missing_rollback
from components.vm_hosts import with_hosts
from host.engine.rollback import ROLLBACK_VARIABLE
from host.project_files import read_project_file
from host.workspace import Workspace
from lab.config.parse import parse, secret_values
from lab.node.render import render
from lab.upgrade import ensure_supported
from system.errors import HardwayError
from system.files import CHECKOUT

# The program needs all its objects until it ends. Searching for garbage took a third of its time.
gc.disable()
resources = ResourceCount()
debug_log.silence()
stack_traces.omit()
configuration = pulumi.runtime.config.CONFIG.get()

try:
    workspace, stack, now = Workspace(CHECKOUT), pulumi.get_stack(), datetime.now(UTC)
    secret_keys = filter(pulumi.runtime.config.is_config_secret, configuration)
    previous = os.environ.get(ROLLBACK_VARIABLE)
    file = Path(previous) if previous else workspace.stack_file(stack)
    secret = secret_values(configuration, secret_keys, file)
    spec = with_hosts(parse(configuration, secret, now=now, read_file=read_project_file))
    rendered = render(spec)
    observation = outage.recover(spec, workspace, stack, now)
    ensure_supported(spec, observation.api_server_version)
    warn_of_missing_rollback(spec, stack)
    confirmation.begin(spec, workspace, stack)
    warn_of_removed_apis(spec, observation.api_server_version, workspace.kubeconfig(stack))
    lab = Lab(
        spec.name,
        LabArgs(
            spec=spec,
            rendered=rendered,
            image=artifacts.base_image(spec),
            digests=artifacts.digests(node.artifacts for node in rendered.nodes.values()),
            drift=observation.drift,
            vm_uuids=observation.vm_uuids,
            command_lines=observation.command_lines,
            kubelet_versions=observation.kubelet_versions,
            ready_nodes=observation.ready_nodes,
            user_kubeconfigs=workspace.user_kubeconfigs(stack),
            rolls_back=previous is not None,
        ),
    )
except HardwayError as error:
    raise pulumi.RunError(str(error)) from None
resources.report()

for name, value in lab.outputs.items():
    pulumi.export(name, value)
