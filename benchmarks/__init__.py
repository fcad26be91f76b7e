"""Speed, measured beside a bare floor in the same run: `python -m benchmarks`. Not shipped."""
