"""An embedded PostgreSQL with a small kivitendo database, to see the service work."""
