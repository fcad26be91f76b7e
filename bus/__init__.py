"""How it is said: the log, the queue, questions, buckets, tokens and signals, over NATS or in memory."""
