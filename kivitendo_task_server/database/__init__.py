"""Every SQL statement that is not a job's own: connections, auth database, tenants, job queue."""
