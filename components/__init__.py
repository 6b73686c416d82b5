"""The Pulumi resources of a lab and their order."""
