"""The command `hardway`: `python3 -m hardway --help`."""
