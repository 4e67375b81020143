"""Benchmarks: what tracing costs, as ratios against stock Django measured in the same run."""
