"""What every door costs over the bare spine: the same task through the bus without a door, in the same run.

The spine is the log port itself: `accepted` is appended, and the task has ended when its `ended` comes over the live
feed. Router, executor, sweeper and projections are the same processes for all, so the rest is the door's.
"""
