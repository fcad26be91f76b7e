"""Every event of the log in Kafka, exactly once under `read_committed`."""
