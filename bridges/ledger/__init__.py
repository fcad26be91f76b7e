"""The ledger: the log as tables, and answers about tasks that left the log's window."""
