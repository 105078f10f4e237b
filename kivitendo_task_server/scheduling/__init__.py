"""When what runs: the cron dialect, the supervisor and the workers."""
