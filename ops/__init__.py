"""Programs that look at a lab, each started by the `hardway` command as `python -m ops.NAME`.

`verify`, `smoke` and `status` check a running lab. `explain` and `render` only read the stack's configuration.
All of them accept `--stack`, `--json`, `--quiet` and `--verbose`; see `ops.command_line`.
"""
