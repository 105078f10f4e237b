"""Process life: daemonise, PID file, privileges, systemd, control of a running service."""

NAME = "kivitendo-background-jobs"
"""What kivitendo's own script calls the service in everything it says."""
