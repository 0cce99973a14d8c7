"""Jobs for a pool of two workers."""

from mschedx.measure.pool import Job, PoolConfig, shared_pool

GIB = 1 << 30


def config(**changes) -> PoolConfig:
    return PoolConfig(**{"workers": 2, "cores": 1, "memory_bytes": GIB, **changes})


def do(jobs, timeout_s=30.0, workers=None, **changes):
    workers = workers or shared_pool(config(**changes))
    return workers.map([lambda j=j: Job(*j) for j in jobs], kind="run", timeout_s=timeout_s)


def only(function, *args, **keywords):
    (outcome,) = do([(function, args)], **keywords)
    return outcome
