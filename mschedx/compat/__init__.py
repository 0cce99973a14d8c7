"""The one room that knows which TVM is installed and works around what is wrong with it.

What is here and why (facts measured on apache-tvm 0.27.0.post1):

- some releases of ``apache-tvm-ffi`` crash: :func:`check_versions`;
- ``import tvm.s_tir.tensor_intrin`` takes 15-22 s, nearly all of it in ``inspect.stack``:
  :func:`fast_script`, :func:`load_tensor_intrinsics`, :func:`only_intrinsics`;
- ``import tvm`` imports torch if it can, which triples its time: :func:`without_torch`;
- TVM's thread pool starts too few threads, or binds them all to one core:
  :func:`cores_environment`, :func:`use_cores`, :func:`on_cores`, :class:`Caller`,
  :func:`stated_cores`;
- LLVM's instruction scheduler takes seconds for a long unrolled block: :func:`bounded_scheduling`;
- Ctrl-C in Python that TVM calls becomes a RuntimeError: :func:`pass_interrupts`.

Nothing here changes the process for longer than the ``with`` block or call that asked for it,
except :func:`use_cores` (with it :class:`Caller`) and :func:`pass_interrupts`, whose purpose that
is. TVM is imported when it is first needed.
"""

from .imports import without_torch
from .interrupts import pass_interrupts
from .intrinsics import intrinsic_kinds, load_tensor_intrinsics, only_intrinsics, own_space_kinds
from .layouts import FREE_LAYOUTS, PERFORMED_AHEAD, free_layouts
from .script import fast_script
from .targets import architecture_of, bounded_scheduling, same_architecture
from .threads import (
    SETTLE_S,
    Caller,
    available_cores,
    cores_environment,
    on_cores,
    stated_cores,
    use_cores,
)
from .versions import TESTED_TVM, IncompatibleVersion, check_versions

__all__ = [
    "FREE_LAYOUTS",
    "PERFORMED_AHEAD",
    "SETTLE_S",
    "TESTED_TVM",
    "Caller",
    "IncompatibleVersion",
    "architecture_of",
    "available_cores",
    "bounded_scheduling",
    "check_versions",
    "cores_environment",
    "fast_script",
    "free_layouts",
    "intrinsic_kinds",
    "load_tensor_intrinsics",
    "on_cores",
    "only_intrinsics",
    "own_space_kinds",
    "pass_interrupts",
    "same_architecture",
    "stated_cores",
    "use_cores",
    "without_torch",
]
