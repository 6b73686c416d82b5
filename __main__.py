"""Reads the spec, builds the lab, exports what a person needs to use it."""

import gc
from datetime import UTC, datetime

import pulumi

from components import artifacts, debug_log
from components.lab import Lab, LabArgs
from host.engine.drift import recorded_repairs
from lab.config.parse import ConfigurationError, parse
from lab.node.render import artifacts_of
from system.errors import HardwayError

# All that the program makes is needed until its end; to look for what is not took a third of its time.
gc.disable()
debug_log.silence()
configuration = pulumi.runtime.config.CONFIG.get()

try:
    secret = filter(pulumi.runtime.config.is_config_secret, configuration)
    spec = parse(configuration, secret, now=datetime.now(UTC))
    lab = Lab(
        spec.name,
        LabArgs(
            spec=spec,
            image=artifacts.base_image(spec),
            digests=artifacts.digests(artifacts_of(spec)),
            repairs=recorded_repairs(pulumi.get_stack()),
        ),
    )
except (ConfigurationError, HardwayError) as error:
    raise pulumi.RunError(str(error)) from None

for name, value in lab.outputs.items():
    pulumi.export(name, value)
