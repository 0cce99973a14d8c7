"""Races are found in whatever order threads run, and only races."""

from dataclasses import replace

import numpy as np
import pytest
from cuda_kernels import execute_kernel, execute_program, kernel, poisoned, program

from mschedx.emulator import ExecutionOptions, Kind

SHARED = "__shared__ alignas(64) int s[256];"
COPY = """
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
               :: "r"((unsigned)__cvta_generic_to_shared(s + {to})),
                  "l"(__cvta_generic_to_global(A + t))
               : "memory");"""
COMMIT = 'asm volatile("cp.async.commit_group;" :  : );'
WAIT = 'asm volatile("cp.async.wait_group {n};" :  :  : "memory");'

RIGHT = {
    "barrier": "s[t] = A[t]; __syncthreads(); D[t] = s[63 - t];",
    "own": "s[t] = A[t]; D[t] = s[t];",
    "readers": "if (t == 0) s[0] = A[0]; __syncthreads(); D[t] = s[0];",
    "reuse": (
        "s[t] = A[t]; __syncthreads(); int x = s[63 - t]; __syncthreads(); s[t] = x; D[t] = s[t];"
    ),
    "warp": "s[t] = A[t]; __syncwarp(); D[t] = s[t ^ 1];",
    "copied": COPY.format(to="t")
    + COMMIT
    + WAIT.format(n=0)
    + "__syncthreads(); D[t] = s[63 - t];",
    "copied for itself": COPY.format(to="t") + COMMIT + WAIT.format(n=0) + "D[t] = s[t];",
    "two groups": COPY.format(to="t")
    + COMMIT
    + COPY.format(to="t + 64")
    + COMMIT
    + WAIT.format(n=1)
    + "__syncthreads(); D[t] = s[63 - t];",
}
WRONG = {
    "write then read": "s[t] = A[t]; D[t] = s[63 - t];",
    "read then write": "s[t] = A[t]; __syncthreads(); int x = s[63 - t]; s[t] = x; D[t] = x;",
    "two writers": "s[t / 2] = A[t]; __syncthreads(); D[t] = s[t / 2];",
    "one late writer": (
        "s[t] = A[t]; __syncthreads(); int x = s[0]; if (t == 5) s[0] = x + 1; D[t] = x;"
    ),
    "other warp": "s[t] = A[t]; __syncwarp(); D[t] = s[t ^ 32];",
    "shuffles order nothing": (
        "s[t] = A[t]; int x = __shfl_sync(0xffffffffu, t, 0, 32); D[t] = s[t ^ 1] + x;"
    ),
    "no wait": COPY.format(to="t") + COMMIT + "__syncthreads(); D[t] = s[t];",
    "no commit": COPY.format(to="t") + WAIT.format(n=0) + "__syncthreads(); D[t] = s[t];",
    "a group short": COPY.format(to="t")
    + COMMIT
    + WAIT.format(n=1)
    + "__syncthreads(); D[t] = s[t];",
    "no barrier after the wait": COPY.format(to="t")
    + COMMIT
    + WAIT.format(n=0)
    + "D[t] = s[63 - t];",
    "written under a copy": COPY.format(to="t")
    + COMMIT
    + "s[t] = 1;"
    + WAIT.format(n=0)
    + "D[t] = s[t];",
    "copied under a reader": (
        "s[t] = A[t]; __syncthreads(); D[t] = s[63 - t];"
        + COPY.format(to="t")
        + COMMIT
        + WAIT.format(n=0)
    ),
}


def name(case):
    return "k_" + case.replace(" ", "_")


def statements(body):
    return "int t = threadIdx.x;\n" + body.replace(";", ";\n").replace(', 4;\n"', ', 4;"').replace(
        'group;\n"', 'group;"'
    ).replace('0;\n"', '0;"').replace('1;\n"', '1;"')


SOURCE = "".join(
    kernel(statements(body), "int* A, int* D", SHARED, name(case))
    for case, body in {**RIGHT, **WRONG}.items()
)


def executed(case, seed):
    arrays = [np.arange(64, dtype="int32"), poisoned(64, "int32")]
    return execute_kernel(
        SOURCE, arrays, ExecutionOptions(seed=seed), name=name(case), block=(64, 1, 1)
    )


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_ordered_is_no_race(case):
    for seed in range(8):
        assert executed(case, seed).faults == ()


@pytest.mark.parametrize("case", WRONG)
def test_every_race_is_found_in_every_order(case):
    for seed in range(8):
        faults = executed(case, seed).faults
        assert {fault.kind for fault in faults} >= {Kind.RACE}, seed


def test_a_race_names_both_lines():
    race = next(f for f in executed("write then read", 0).faults if f.kind is Kind.RACE)
    assert {race.line.text, race.other_line.text} == {"s[t] = A[t];", "D[t] = s[63 - t];"}
    assert race.array == "shared"
    assert race.thread != race.other_thread


def test_a_copy_lands_no_sooner_than_it_must():
    # The numbers are wrong too: what is read is what was there before the copy.
    done = executed("no wait", 0)
    assert (done.arrays[1] == -1).all()
    assert all(f.asynchronous for f in done.faults if f.kind is Kind.RACE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("D[blockIdx.x * 64 + t] = A[t];", set()),
        ("D[t] = blockIdx.x;", {Kind.RACE}),
        ("D[t] = A[t]; A[63 - t] = 0;", {Kind.RACE}),
    ],
)
def test_blocks_have_no_order(body, expected):
    arrays = [np.arange(64, dtype="int32"), poisoned(128, "int32")]
    source = kernel("int t = threadIdx.x; " + body, "int* A, int* D")
    done = execute_kernel(source, arrays, grid=(2, 1, 1), block=(64, 1, 1))
    assert {fault.kind for fault in done.faults} == expected


def test_interruptions_show_in_the_numbers_what_a_race_does():
    # Every thread counts in turn; only an interruption between the read and the write loses one.
    body = "int t = threadIdx.x; for (int i = 0; i < 50; ++i) { int x = D[0]; D[0] = x + 1; }"
    source = kernel(body, "int* D")
    calm, restless = (
        execute_kernel(source, [np.zeros(1, "int32")], ExecutionOptions(preempt_every=every))
        for every in (0, 3)
    )
    assert calm.arrays[0][0] == 50 * 32
    assert restless.arrays[0][0] < 50 * 32
    assert all(done.faults for done in (calm, restless))


def test_the_same_seed_is_the_same_execution():
    body = (
        "int t = threadIdx.x; for (int i = 0; i < 50; ++i) { int x = D[t % 3]; D[t % 3] = x + t; }"
    )
    source = kernel(body, "int* D")

    def run(seed):
        options = ExecutionOptions(seed=seed, preempt_every=5)
        return execute_kernel(source, [np.zeros(3, "int32")], options).arrays[0].tolist()

    assert run(1) == run(1)
    assert len({tuple(run(seed)) for seed in range(5)}) > 1


def happens_before_races(programs):
    """Whether any two accesses of different threads clash in one epoch, one a write."""
    touched = {}
    for thread, operations in enumerate(programs):
        epoch = 0
        for kind, place in operations:
            if kind == "barrier":
                epoch += 1
            else:
                touched.setdefault((epoch, place), []).append((thread, kind))
    return any(
        a[0] != b[0] and "write" in (a[1], b[1])
        for accesses in touched.values()
        for a in accesses
        for b in accesses
    )


def test_random_programs_race_where_no_order_is_certain():
    # An interpreter of operations: 0 barrier, 1 + p reads s[p], 101 + p writes s[p].
    body = """
  int t = threadIdx.x;
  int sum = 0;
  if (t == 0) for (int i = 0; i < 100; ++i) s[i] = 0;
  __syncthreads();
  for (int i = 0; i < 6; ++i) {
    int o = A[t * 6 + i];
    if (o == 0) __syncthreads();
    else if (o < 101) sum += s[o - 1];
    else s[o - 101] = t;
  }
  D[t] = sum;
"""
    source = kernel(body, "int* A, int* D", "__shared__ alignas(64) int s[100];")
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        places = int(rng.integers(20, 100))
        barrier = rng.random(6) < 0.4  # all threads meet the same barriers
        code = np.where(
            barrier, 0, rng.integers(1, places + 1, (64, 6)) + 100 * (rng.random((64, 6)) < 0.01)
        )
        programs = [
            [
                ("barrier", 0) if o == 0 else ("read", o - 1) if o < 101 else ("write", o - 101)
                for o in row
            ]
            for row in code.tolist()
        ]
        arrays = [code.astype("int32"), poisoned(64, "int32")]
        done = execute_kernel(source, arrays, ExecutionOptions(seed=1), block=(64, 1, 1))
        expected = happens_before_races(programs)
        assert (Kind.RACE in {f.kind for f in done.faults}) == expected
        seen.add(expected)
    assert seen == {True, False}


ACROSS_BLOCKS = {
    "read by all, written by one": "int x = A[t]; if (blockIdx.x == 1) A[t] = x + 1; D[g] = x;",
    "two readers in the writing block": (
        "int x = A[t] + A[63 - t]; __syncthreads(); if (blockIdx.x == 1) A[t] = x; D[g] = x;"
    ),
    "read by the others": "if (blockIdx.x == 1) A[t] = t; else D[g] = A[t];",
}


@pytest.mark.parametrize("case", ACROSS_BLOCKS)
@pytest.mark.parametrize("blocks", [2, 5])
def test_a_read_of_one_block_and_a_write_of_another_race_in_every_order(case, blocks):
    body = f"int t = threadIdx.x; int g = blockIdx.x * 64 + t; {ACROSS_BLOCKS[case]}"
    source = kernel(body, "int* A, int* D")
    for seed in range(16):
        arrays = [np.arange(64, dtype="int32"), poisoned(64 * blocks, "int32")]
        launch = {"grid": (blocks, 1, 1), "block": (64, 1, 1)}
        done = execute_kernel(source, arrays, ExecutionOptions(seed=seed), **launch)
        assert {fault.kind for fault in done.faults} == {Kind.RACE}, seed


def test_reads_of_an_earlier_launch_are_ordered():
    source = kernel("int t = threadIdx.x; D[t] = A[t];", "int* A, int* D", name="first") + kernel(
        "int t = threadIdx.x; A[t] = D[t] + 1;", "int* A, int* D", name="second"
    )
    arrays = [np.arange(64, dtype="int32"), poisoned(64, "int32")]
    one = program(source, arrays, name="first", grid=(1, 1, 1), block=(64, 1, 1))
    both = replace(one, launches=(*one.launches, replace(one.launches[0], kernel="second")))
    done = execute_program(both, arrays)
    assert done.faults == ()
    np.testing.assert_array_equal(done.arrays[0], np.arange(1, 65))
