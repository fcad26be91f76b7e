"""Hours in minutes: half of what the system can do, for long, and whatever grows is found.

`python -m benchmarks.soak [--minutes 30] [--rate N] [--mode MODE] [--json]`, also as `make soak`.

A closed loop measures saturation for 20 s; then an open loop sends half as many tasks a second. Every 5 s each process,
stream, consumer and projection is looked at, and what the actors logged is read. Trends are judged over the second
half of the run, against stated bounds; the log's window is a sixth of the run, so that trimming is part of it.
"""
