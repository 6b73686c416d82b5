"""Tools for developers: checks and tests, documentation, benchmark."""
