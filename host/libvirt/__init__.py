"""libvirt: the system's or a private one, its namespaces, and its objects."""
