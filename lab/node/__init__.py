"""Renders a Spec into the services of each node: files, binaries, images, checks and health commands.

Nothing here uses Pulumi or reads a secret. Start reading at `render`. `service` defines what a service is, and these
modules each define some services: `node_setup`, `control_plane`, `load_balancer`, `worker`, `addons`, `bootstrap`.
"""
