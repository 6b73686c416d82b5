"""Programs that look at a lab, each started by the `hardway` command as `python -m ops.NAME`.

`verify`, `smoke`, `probe` and `status` check a running lab. `explain` and `render` only read the stack's configuration.
`rehearse` applies a change to a fork. `access` creates a kubeconfig for a user. All of them accept `--stack`, `--quiet`
and `--verbose`, and all except `access` accept `--json`; see `ops.command_line`. kubectl itself starts
`ops.access.credential`.
"""
