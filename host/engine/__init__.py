"""The Pulumi engine: run it for a stack, and recover from one that was killed."""
