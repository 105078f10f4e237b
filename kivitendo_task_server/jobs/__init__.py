"""What can be run: the registry, one module per job, the Perl bridge."""
