"""Reach a lab: kubeconfig, SSH configuration and SSH clients."""
