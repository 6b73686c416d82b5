"""Building blocks of every other package: errors, console, commands, files, processes. Standard library only."""
