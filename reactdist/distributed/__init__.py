"""Ray: the session a command runs in, and the adapters of the batch jobs."""
