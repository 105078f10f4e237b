"""The job CreatePeriodicInvoices: one module per subject of the specification."""
