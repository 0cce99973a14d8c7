"""Tuners against each other: the same workloads, trials, builder, runner, cores, in turn."""
