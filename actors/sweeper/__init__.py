"""The sweeper: ends tasks past their deadline and keeps the log's window."""
