"""This machine: Debian packages, virtual environments, KVM and the time stamp counter."""
