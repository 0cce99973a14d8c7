"""``LocalBuilder``: compile candidates in warm worker processes on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult, PyBuilder

from mschedx import compat
from mschedx.ranges import require_count

from . import work
from .config import require_memory, require_timeout
from .pool import Job, JobOutcome, PoolConfig, carry_out, shared_pool, total_memory_bytes


@derived_object
class LocalBuilder(PyBuilder):
    """An ``ms.Builder`` that compiles candidates in parallel, in processes that stay warm.

    The processes start in the background when the first builder or runner is made, are shared by
    all builders of the same configuration, and end with the session. A candidate that crashes,
    hangs or exhausts its memory costs one failed record (:mod:`mschedx.measure.failures`) and one
    worker, which is replaced in milliseconds. Candidates become shared libraries that any
    ``ms.Runner`` can load. CUDA targets need nvcc or NVRTC, not a GPU.

    Parameters
    ----------
    max_workers : int, optional
        Number of worker processes; one for each core that this process may use when None.
    timeout_s : float
        Limit for one candidate, seconds.
    initializer : callable, optional
        Called without arguments in the process from which workers are forked, to register what
        compiling needs (global functions, passes). Must be picklable by cloudpickle. Schedules
        that were tensorised need no registration: their intrinsics are already in their bodies.
    build : callable, optional
        ``build(mod, target)`` returns the runtime module, in place of ``tvm.build``; picklable by
        cloudpickle.
    memory_bytes : int, optional
        Limit for the resident memory of one worker; its share of half the machine's when None.
    whole_blocks : bool
        Let LLVM schedule the instructions of blocks with more than 200 memory accesses as a whole,
        as ``tvm.compile`` does. In portions (the default) random candidates of TVM's space take a
        quarter less time; blocks with fewer accesses, and so nearly all good candidates, come out
        identical, and no latency was found to differ.

    Raises
    ------
    ValueError
        If a number is out of range.
    OSError
        If the temporary directory cannot be written to.
    """

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        timeout_s: float = 30.0,
        initializer: Callable[[], None] | None = None,
        build: Callable[[Any, Any], Any] | None = None,
        memory_bytes: int | None = None,
        whole_blocks: bool = False,
    ) -> None:
        super().__init__()
        compat.check_versions()
        workers = compat.available_cores() if max_workers is None else max_workers
        workers = require_count("max_workers", workers)
        require_timeout(timeout_s)
        require_memory(memory_bytes)
        if memory_bytes is None:
            memory_bytes = max(1 << 30, total_memory_bytes() // (2 * workers))
        self.timeout_s = timeout_s
        self._build = pickled(build)
        self._whole_blocks = whole_blocks
        self._config = PoolConfig(
            workers=workers, cores=1, memory_bytes=memory_bytes, initializer=pickled(initializer)
        )
        require_temporary_directory()
        shared_pool(self._config)

    def build(self, build_inputs: Sequence[BuilderInput]) -> list[BuilderResult]:
        """Compile all inputs; a candidate's failure is a result with ``error_msg``.

        Raises
        ------
        MachineTrouble
            If this machine can build nothing at present.
        """

        def job(item: BuilderInput) -> Callable[[], Job]:
            return lambda: Job(
                work.build_candidate,
                (
                    tvm.ir.save_json(item.mod),
                    tvm.ir.save_json(item.target),
                    shared_pool(self._config).directory,
                    self._build,
                    self._whole_blocks,
                ),
            )

        outcomes = carry_out(
            self._config,
            [job(item) for item in build_inputs],
            kind="build",
            timeout_s=self.timeout_s,
        )
        return [_result(outcome) for outcome in outcomes]


def _result(outcome: JobOutcome) -> BuilderResult:
    return BuilderResult(outcome.value, outcome.error)


def pickled(function: Callable[..., Any] | None) -> bytes | None:
    """Pickle a function, also a nested one or one of ``__main__``, for another process."""
    if function is None:
        return None
    if not callable(function):
        raise TypeError(f"expected a function or None, got {function!r}")
    import cloudpickle

    return cloudpickle.dumps(function)


def require_temporary_directory() -> None:
    """Raise a clear error now if there is no place for built candidates."""
    try:
        with tempfile.TemporaryFile():
            return
    except OSError as error:
        raise OSError(
            f"no temporary directory to build in: {error}. Set TMPDIR to a directory that can "
            f"be written to (now {os.environ.get('TMPDIR', 'not set')})."
        ) from error
