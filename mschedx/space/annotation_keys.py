"""Annotations of loops and blocks: what one who schedules tells those who look later.

Each key is spelt here alone, with who writes it and who reads it: spelt anew elsewhere, one that is
renamed would be a constraint less, and nothing would fail. The one that the package also reads
outside of spaces is `mschedx.compat.PERFORMED_AHEAD`.
"""

from __future__ import annotations

# Ours.

ASYNC_COPIES = "mschedx.async"
"""On a pipelined loop: 1 where copies below it are to be asynchronous, a decision.

Written by `rules.tensor_core_tile`; read by `postprocs.async_copies` and `mirror.async_copies`.
"""

PIPELINE_DEPTH = "mschedx.stages"
"""On a pipelined loop: how many iterations ahead its tiles are copied, a decision.

Written by `rules.tensor_core_tile`; read by `postprocs.async_copies` and `mirror.async_copies`.
"""

VECTOR_COPY = "mschedx.vectors"
"""On a block that copies neighbours without a guard: how many.

Written by `rules.shared_tiles`; read by `postprocs.async_copies`, `mirror.async_copies` and
`read.lowered`.
"""

PITCH = "mschedx.pitch"
"""On a block that writes shared memory: elements by which its rows are padded.

Written by `rules.shared_tiles` for the trace alone, which drops a decision that only a list uses.
"""

LEFT_TO_LLVM = "mschedx.left_to_llvm"
"""On a loop that was one over the lanes of a vector: 1.

Written by `postprocs.loops_for_llvm`; read by `read.extract`, which takes the loop for a vector.
"""

# TVM's, on the root block: its `ParallelizeVectorizeUnroll` writes them, its
# `RewriteParallelVectorizeUnroll` turns them into loops.

PARALLEL = "meta_schedule.parallel"
"""The extent up to which outer loops are fused and run in parallel. Read by `mirror.vectorize`."""

VECTORIZE = "meta_schedule.vectorize"
"""The lanes up to which inner loops are fused into a vector. Read by `mirror.vectorize`."""

UNROLL_EXPLICIT = "meta_schedule.unroll_explicit"
"""The steps up to which TVM unrolls.

Read by `trace.instructions`, `mirror.postprocs`, `derive.cross_thread` and `derive.index_vectors`.
"""

UNROLL_IMPLICIT = "meta_schedule.unroll_implicit"
"""The same where LLVM or CUDA's compiler is to unroll.

Written by `rules.tensor_core_tile`, too; read by `rules.guards`, `trace.instructions` and
`mirror.postprocs`.
"""

# TVM's, on other blocks.

COOPERATIVE_FETCH = "meta_schedule.cooperative_fetch"
"""Neighbours that a thread copies at a time; `RewriteCooperativeFetch` binds the loop.

Written by `rules.shared_tiles` and TVM's rules; read by `trace.instructions`, `mirror.postprocs`,
`derive.limits` and `derive.statements`.
"""

AUTO_TENSORIZE = "meta_schedule.auto_tensorize"
"""The intrinsic that a postproc is to tensorise the block with.

Written by TVM's rules; read by `read.tensorized`, `mirror.shared_memory` and `derive.statements`.
"""

THREADS_LOW = "meta_schedule.thread_extent_low_inclusive"
"""The fewest threads of the block's kernel.

Written by `rules.tensor_core_tile` and TVM's rules; read by `derive.limits`.
"""

THREADS_HIGH = "meta_schedule.thread_extent_high_inclusive"
"""The most of them.

Written by `rules.tensor_core_tile` and TVM's rules; read by `derive.limits`.
"""

WARP_EXECUTION = "warp_execution"
"""On a block that a warp executes as one: 1.

Written by `rules.tensor_core_tile` and TVM's rules; read by `mirror.kernels` and
`derive.statements`.
"""

DIM_ALIGN = "buffer_dim_align"
"""What a block writes, with dimension, factor and offset of its strides, as `storage_align` says.

Written by `rules.shared_tiles` and TVM's rules; read by `mirror.memory`.
"""

# TVM's, on loops.

PIPELINE_STAGE = "software_pipeline_stage"
"""The stage of every statement of a pipelined loop.

Written by `rules.tensor_core_tile` and TVM's rules; read by `mirror.memory` and `derive.limits`.
"""

PIPELINE_ORDER = "software_pipeline_order"
"""In which order these statements run. Written by `rules.tensor_core_tile`."""

PIPELINE_ASYNC_STAGES = "software_pipeline_async_stages"
"""The stages whose copies are awaited by groups.

Written by `postprocs.async_copies`; read by `read.lowered`.
"""

UNROLL_LIMIT = "pragma_auto_unroll_max_step"
"""The steps up to which what is below the loop is unrolled.

Written by `RewriteParallelVectorizeUnroll` and `postprocs.short_chains`; read by the latter,
`trace.instructions` and `read.lowered`.
"""

UNROLL_BY_TVM = "pragma_unroll_explicit"
"""Beside it: 1 where TVM unrolls, 0 where a compiler is to.

Written by `RewriteParallelVectorizeUnroll` and `postprocs.async_copies`; read by
`postprocs.short_chains`.
"""
