"""What a lab is made of: from configuration to a typed spec to the files on each node. Neither Pulumi nor a network."""
