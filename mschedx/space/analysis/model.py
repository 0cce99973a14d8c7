"""What the analysis of a design space says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..algebra.constraints import Constraint
from ..algebra.expression import Expression, IntArray
from ..algebra.tape import Tape
from ..statements import Statement

CODE_GENERATION = "CUDA code generation"
"""How the origins of constraints begin that no postproc checks."""


@dataclass(frozen=True, slots=True)
class LoopInfo:
    """A loop of the scheduled program, before postprocs; listed in pre-order.

    ``parent`` is the index of the enclosing loop, None at the top; ``kind`` is "serial",
    "parallel", "vectorized", "unrolled" or "thread", and ``thread`` the tag then bound to.
    ``extent`` is None when no expression was found.
    """

    name: str
    kind: str
    thread: str
    extent: Expression | None
    parent: int | None
    block: str


@dataclass(frozen=True, slots=True)
class AccessInfo:
    """What a block reads or writes of a buffer.

    Parameters
    ----------
    block, buffer, scope, dtype : str
    is_write : bool
    element_bytes : int
    loops : tuple of int
        The block's loops, outermost first, as indices into `Analysis.loops`.
    regions : tuple over dimensions of tuples over levels
        ``regions[d][j]``: elements spanned along dimension d while loops j… of ``loops`` run;
        ``regions[d][len(loops)]`` is one instance of the block.
    cooperative_regions : likewise
        The same with all threads of a thread block running too.
    strides : tuple over loops
        Elements between two neighbouring iterations of the loop in the row-major buffer, where the
        loop has more than one iteration; 0 when it does not move the access.
    """

    block: str
    buffer: str
    scope: str
    dtype: str
    is_write: bool
    element_bytes: int
    loops: tuple[int, ...]
    regions: tuple[tuple[Expression | None, ...], ...]
    cooperative_regions: tuple[tuple[Expression | None, ...], ...]
    strides: tuple[Expression | None, ...]


@dataclass(frozen=True, slots=True)
class AllocationInfo:
    """A buffer the program allocates, as lowered: compacted to what is live, and padded.

    ``bytes`` is per thread block for shared scopes, per thread for the others on a GPU (vthreads
    counted), and in all for a CPU. ``copies`` counts the versions a software pipeline keeps.
    ``kernel`` is the position of the one outermost loop around all uses, on a GPU an index into
    `Analysis.kernels`; None where there are several or none.
    """

    buffer: str
    scope: str
    dtype: str
    kernel: int | None
    shape: tuple[Expression | None, ...]
    copies: Expression | None
    bytes: Expression | None


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """A GPU kernel: one outermost loop nest.

    ``extents`` maps the tags bound in it ("blockIdx.x", "threadIdx.y", "vthread.x", …) to their
    extents after postprocs; the products are ``grid`` (thread blocks), ``threads`` (per block) and
    ``vthreads``. None where a loop that is bound has no expression, or a postproc binds loops.
    ``shared_bytes`` is what the allocator needs for ``shared`` buffers, None when only the lower
    bound ``shared_at_least`` is known; ``static_bytes`` is what those of scope "shared" need at
    least.
    """

    name: str
    extents: Mapping[str, Expression]
    grid: Expression | None
    threads: Expression | None
    vthreads: Expression | None
    shared_bytes: Expression | None
    shared_at_least: Expression | None
    static_bytes: Expression | None = None
    clashes: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True)
class VectorInfo:
    """What a postproc makes of a block: its SIMD, parallel and unrolled parts.

    ``vector`` is the number of lanes (1: scalar), ``parallel`` the trip count of the parallel loop
    on a CPU, ``unroll`` the automatic unrolling limit (0: none), ``serial`` the rounds every thread
    makes in a cooperative fetch, ``asynchronous`` (1 or 0) whether a GPU's threads copy without
    waiting. Of a block that a CPU's postproc fuses, ``in_parallel`` and ``in_vector`` say of each
    loop, as 0 or 1, whether it becomes part of the parallel or the vector loop, and ``whole``
    whether all loops are fused and split into these two.
    """

    block: str
    vector: Expression | None = None
    parallel: Expression | None = None
    unroll: Expression | None = None
    serial: Expression | None = None
    asynchronous: Expression | None = None
    in_parallel: tuple[Expression, ...] = ()
    in_vector: tuple[Expression, ...] = ()
    whole: Expression | None = None


@dataclass(frozen=True)
class Analysis:
    """Everything known about a design space as expressions of its decisions.

    Parameters
    ----------
    quantities : mapping
        Expressions by readable name, one of each kind of number a cost model may want.
    constraints : tuple of Constraint
        What a valid config must satisfy: others are rejected by TVM or do not compile.
    canonical : tuple of Constraint
        One config per program: what fails these is the same program as a config that does not.
    preferences : tuple of Constraint
        Advice: configs that fail these are valid but can hardly be fast.
    unresolved : mapping
        Quantities for which no expression reproduces every replay, with the reason.
    statements : tuple of Statement
        What the program computes, in its order.
    allocations, kernels : tuples
        What it allocates, and the kernels it has on a GPU.
    loops, accesses, vectors : tuples
        What statements are composed of: the schedule's loops, the regions of all its blocks, and
        what postprocs do to these. `exactness` holds them against programs.
    """

    quantities: Mapping[str, Expression]
    constraints: tuple[Constraint, ...]
    canonical: tuple[Constraint, ...]
    preferences: tuple[Constraint, ...]
    unresolved: Mapping[str, str]
    loops: tuple[LoopInfo, ...]
    accesses: tuple[AccessInfo, ...]
    statements: tuple[Statement, ...]
    allocations: tuple[AllocationInfo, ...]
    kernels: tuple[KernelInfo, ...]
    vectors: tuple[VectorInfo, ...]

    def values(self, configs: IntArray) -> dict[str, IntArray]:
        """Evaluate every quantity on configs [n, D]; int64 [n] each, equal ones computed once."""
        return dict(zip(self.quantities, Tape(list(self.quantities.values()))(configs)))
