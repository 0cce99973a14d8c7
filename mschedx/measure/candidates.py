"""Build and run candidates apart from TVM's task scheduler, and leave nothing of them behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm.runtime import device_from_target
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput, RunnerResult

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


def build_all(mods: Sequence[IRModule], target: Target, builder: Any) -> list[Any]:
    """Build scheduled modules; a ``BuilderResult`` for each.

    Raises
    ------
    RuntimeError
        Where the builder gives no result for some, or more than there are modules.
    """
    if not mods:
        return []
    built = list(builder.build([BuilderInput(mod, target) for mod in mods]))
    if len(built) != len(mods):
        raise RuntimeError(
            f"expected a result for each of {len(mods)} candidates of the builder, got "
            f"{len(built)}: have its build() give one for every input, in their order"
        )
    return built


def run_all(
    built: Sequence[Any], arguments: Sequence[Any], target: Target, runner: Any
) -> list[Any]:
    """Run what was built, and remove it as TVM's scheduler does.

    Parameters
    ----------
    built : sequence of BuilderResult
    arguments : sequence of list of ArgInfo
        Of each of them.
    target : Target
    runner : ms.Runner

    Returns
    -------
    list of RunnerResult
        In the order of `built`; what did not build carries the builder's error.
    """
    device = str(device_from_target(target)).partition(":")[0]
    whole = [i for i, result in enumerate(built) if result.error_msg is None]
    inputs = [RunnerInput(built[i].artifact_path, device, arguments[i]) for i in whole]
    try:
        futures = dict(zip(whole, runner.run(inputs) if inputs else []))
        return [
            futures[i].result() if i in futures else RunnerResult(None, result.error_msg)
            for i, result in enumerate(built)
        ]
    finally:
        for i in whole:
            shutil.rmtree(os.path.dirname(str(built[i].artifact_path)), ignore_errors=True)
