"""The front door: the command line. One module per group of commands, no logic of its own."""
