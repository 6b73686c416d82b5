"""What exists and in what order: the Pulumi resources that carry what `lab` renders."""
