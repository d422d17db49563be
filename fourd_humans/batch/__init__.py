"""Many sources: finding the jobs, recording their state, and doing them on local processes or a Ray cluster."""
