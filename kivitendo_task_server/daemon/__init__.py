"""Process life: daemonise, PID file, privileges, systemd, control of a running service."""
