"""Check that a scheduled program computes what the unscheduled one does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from mschedx import compat

from . import failures, verification_jobs
from .failures import MachineTrouble
from .pool import Job, JobOutcome, PoolConfig, carry_out, shared_pool, total_memory_bytes
from .provenance import entry_of, provenances
from .reference import precision


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """Whether a candidate computes the right result.

    Attributes
    ----------
    ok : bool
        It was run and agrees with the unscheduled program.
    checked : bool
        Something is known about the candidate. False: the *reference* failed, there is no such
        device, memory or time ran out, or what came out shows nothing; a candidate that itself
        fails is checked and not ok.
    ran : bool
        The candidate ran to its end and was compared. False where it is checked: it could not be
        built or crashed, which may be its own fault or that of a machine that lacks what the target
        has.
    max_error : float
        Largest absolute difference found; NaN where nothing was compared.
    tolerance : float
        Largest absolute difference allowed, 0 for integers; NaN where nothing was compared.
    reason : str
        Why it is not ok; empty if it is.
    """

    ok: bool
    checked: bool
    ran: bool
    max_error: float
    tolerance: float
    reason: str


def verify(
    candidate: Any,
    reference: Any,
    target: Any,
    *,
    rng: np.random.Generator | None = None,
    cores: int | None = None,
    timeout_s: float = 120.0,
) -> VerifyResult:
    """Run `candidate` and `reference` on the same random inputs, isolated, and compare.

    Floats are drawn uniformly from [-1, 1), or from [0.1, 1) where that makes most of the results
    NaN or infinite; integers from what the reference can be given, as far as that is read off it
    (:mod:`mschedx.measure.argument_bounds`), else those of 8 and 16 bits from their whole range and
    wider ones, which may be indices, below the smallest extent. Every argument is compared, so an
    input that the candidate overwrites is found too. Integers must agree exactly, floats within the
    tolerance of :mod:`mschedx.measure.tolerance`, which also says what is allowed of integers that
    depend on computed floats. Nothing is shown where these differ in what rounding may have
    decided, or where most results are NaN or infinite. On a GPU target the reference runs on the
    CPU.

    Weight layouts that a schedule rewrites are rewritten inside the function here, so its
    parameters stay those of the unscheduled program.

    Parameters
    ----------
    candidate : tvm.s_tir.Schedule, tvm.IRModule or tvm.tirx.PrimFunc
        The scheduled program.
    reference : tvm.IRModule or tvm.tirx.PrimFunc
        The unscheduled program, with the same parameters.
    target : tvm.target.Target
        What to build the candidate for.
    rng : numpy.random.Generator, optional
        Source of the inputs; a fixed one when None.
    cores : int, optional
        Cores to run on; all that this process may use when None.
    timeout_s : float
        Limit for building and running both, seconds.
    """
    import tvm

    compat.check_versions()
    target = tvm.target.Target(target)
    reference = _module(reference)
    cores = compat.available_cores() if cores is None else cores
    config = PoolConfig(
        workers=1, cores=cores, memory_bytes=max(1 << 30, total_memory_bytes() // 2)
    )
    seed = int((rng or np.random.default_rng(0)).integers(2**32))
    texts = (tvm.ir.save_json(reference), tvm.ir.save_json(_module(candidate)))

    def job(function: Any, *args: Any) -> JobOutcome:
        return carry_out(config, [lambda: Job(function, args)], kind="run", timeout_s=timeout_s)[0]

    if target.kind.name == "llvm" and not compat.same_architecture(target):
        return _not_compared(f"this machine runs no code for {compat.architecture_of(target)}")
    try:
        target_text, directory = tvm.ir.save_json(target), shared_pool(config).directory
        expected = job(verification_jobs.run_reference, texts[0], target_text, seed, directory)
        if expected.error is not None:
            why = f"the unscheduled program could not be run: {expected.error}"
            return _not_compared(why)
        exactness = precision(reference)
        follows = provenances(entry_of(reference))
        try:
            found = job(
                *(verification_jobs.run_and_compare, texts[1], target_text, expected.value),
                *(exactness.relative_tolerance(), follows, exactness.multiplies),
            )
        finally:
            os.unlink(expected.value)
    except (MachineTrouble, OSError) as error:
        return _not_compared(f"nothing can be run at present: {error}")
    if found.error is not None:
        absent = verification_jobs.NO_DEVICE in found.error
        limited = failures.reason(found.error) in ("memory", "timeout")
        why = f"the candidate could not be run: {found.error}"
        return _not_compared(why, checked=not (absent or limited))
    difference = found.value
    return VerifyResult(
        ok=not difference.reason,
        checked=difference.shown,
        ran=True,
        max_error=difference.max_error,
        tolerance=difference.tolerance,
        reason=difference.reason,
    )


def _not_compared(reason: str, checked: bool = False) -> VerifyResult:
    nan = float("nan")
    return VerifyResult(
        ok=False, checked=checked, ran=False, max_error=nan, tolerance=nan, reason=reason
    )


def _module(program: Any) -> Any:
    import tvm
    from tvm.s_tir import Schedule
    from tvm.tirx import PrimFunc

    if isinstance(program, Schedule):
        return program.mod
    if isinstance(program, PrimFunc):
        return tvm.IRModule({"main": program.with_attr("global_symbol", "main")})
    if isinstance(program, tvm.IRModule):
        return program
    raise TypeError(f"expected a Schedule, an IRModule or a PrimFunc, got {type(program).__name__}")
