"""The floor: the log, the cursors and the live feed with nothing around them.

Three processes speak NATS at protocol level: submitter -> router -> executor -> live `ended` at the submitter.
The same stream configuration, subjects, compare-and-set headers and durability as the system; no HTTP, no actors,
no validation, no reconnect. What the system costs is read as a ratio to this.
"""
