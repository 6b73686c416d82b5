"""Turn a stack's configuration into the spec of a lab.

`schema` reads the keys that Pulumi.yaml declares, `converters` converts each value, `rules` checks the values together,
and `build` creates the spec. `parse` runs these steps and reports all problems at once.
"""
