"""Setting up a host: detection, boot scripts, registration, manifest, tenants."""
