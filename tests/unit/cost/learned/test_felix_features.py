"""Felix's features, against the same list counted config by config; facts of felix.md section 9."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import tvm

from mschedx import workloads
from mschedx.cost.learned.felix_features import (
    GROUPS,
    LINE_BYTES,
    MOST_SLOTS,
    NAMES,
    OPERATIONS,
    TAGS,
    FelixFeatures,
)
from mschedx.space import sketches

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")
TVM = "post-order-apply"

SPACES = {
    "gemm": ("gemm", (64, 48, 96), "float32", CPU, None),
    "primes": ("gemm", (1009, 44, 11008), "float32", CPU, TVM),
    "unit loops": ("gemm", (1, 64, 1), "float32", CPU, TVM),
    "conv2d": ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1), "float32", CPU, None),
    "int8": ("gemm", (64, 64, 64), "int8", CPU, None),
    "softmax": ("softmax", (32, 48), "float32", CPU, TVM),
    "CUDA cores": ("gemm", (64, 48, 96), "float32", GPU, TVM),
    "tensor cores": ("gemm", (128, 128, 128), "float16", GPU, None),
}


@cache
def opened(name):
    op, shape, dtype, target, space = SPACES[name]
    return sketches(workloads.make(op, shape, dtype), target, space)[0]


def corners(sketch):
    """A config with the least and one with the greatest value of every decision, if valid."""
    found = []
    for decision in sketch.decisions:
        for value in (decision.domain[0], decision.domain[-1]):
            near = sketch.sample(1, np.random.default_rng(0))
            near[:, decision.column] = value
            found.append(near)
    return sketch.nearest(np.concatenate(found), np.random.default_rng(0))


def configs_of(sketch, n=200):
    return np.concatenate([sketch.sample(n, np.random.default_rng(7)), corners(sketch)])


class Counted:
    """The list of features of one program, with whole numbers and conditions."""

    def __init__(self, sketch, config):
        self.sketch, self.config = sketch, config[None]
        self.sizes = {one.buffer: one.bytes for one in sketch.analysis.allocations}
        self.statements = list(sketch.statements)

    def at(self, expression):
        return int(expression(self.config)[0])

    def extents(self, statement):
        return [self.at(loop.extent) for loop in statement.loops]

    def trips(self, statement, start, stop=None):
        loops = list(zip(statement.loops, self.extents(statement)))[start:stop]
        return math.prod(e for loop, e in loops if loop.kind != "intrinsic")

    def together(self, a, b):
        if a is b:
            return len(a.loops)
        if a.kernel is None or a.kernel != b.kernel:
            return 0
        same = [
            (x.name, x.thread, x.extent) == (y.name, y.thread, y.extent)
            for x, y in zip(a.loops, b.loops)
        ]
        return (*same, False).index(False)

    def row(self, s):
        statement = self.statements[s]
        row = dict.fromkeys(NAMES, 0.0)
        instances = self.trips(statement, 0)
        row["outer"], row["lanes"] = instances, self.at(statement.lanes)
        row["unroll"] = self.at(statement.unroll)
        for kind in OPERATIONS:
            for key, count in statement.operations.items():
                if key == kind or key.startswith(kind + "."):
                    row[kind] += count * instances
        extents = self.extents(statement)
        for group in GROUPS:
            here = [e for loop, e in zip(statement.loops, extents) if loop.kind == group]
            if here:
                row[f"{group}.product"], row[f"{group}.innermost"] = math.prod(here), here[-1]
            row[f"{group}.number"] = sum(e > 1 for e in here)
        row["loops"] = sum(e > 1 for e in extents)
        for tag in (*TAGS, "vthread"):
            here = [e for loop, e in zip(statement.loops, extents) if loop.thread.startswith(tag)]
            row[tag] = math.prod(here) if here else 0
        known = self.allocation(statement, row)
        logs = {name: math.log1p(value) for name, value in row.items()}
        logs |= {
            "gpu": float("gpu" in self.sketch.design.target.keys),
            "initialises": float(statement.is_init),
            "reduces": float(statement.is_reduction),
            "guarded": float(statement.predicated),
            "by warp": float(statement.by_warp),
            "by intrinsic": float(bool(statement.intrinsic)),
            "allocation known": float(known),
        }
        merged = {}
        for access in statement.accesses:
            merged.setdefault((access.buffer, access.elements), []).append(access)
        for slot, some in enumerate(sorted(merged.values(), key=lambda a: a[0].buffer)):
            if slot < MOST_SLOTS:
                described = self.slot(s, some)
                logs |= {f"{slot}.{name}": value for name, value in described.items()}
        return logs

    def allocation(self, statement, row):
        made = [w.buffer for w in statement.writes if w.buffer in self.sizes]
        if not made or self.sizes[made[0]] is None:
            return not made
        users = [s for s in self.statements if any(a.buffer == made[0] for a in s.accesses)]
        depth = min((self.together(users[0], u) for u in users), default=0)
        depth = 0 if len(users) == 1 else depth
        size, outer = self.at(self.sizes[made[0]]), self.trips(statement, 0, depth)
        row["allocation.bytes"], row["allocation.outer"] = size, outer
        row["allocation.inner"] = self.trips(statement, depth)
        row["allocation.product"] = size * outer
        return True

    def touched(self, statement, level):
        once = {access.buffer: access for access in statement.accesses}
        return sum(self.at(a.elements[level]) * a.element_bytes for a in once.values())

    def slot(self, s, some):
        statement, access = self.statements[s], some[0]
        reads, writes = (any(a.is_write == w for a in some) for w in (False, True))
        extents, size = self.extents(statement), access.element_bytes
        stays = [
            access.elements[j] == access.elements[j + 1]
            if access.strides[j] is None
            else access.strides[j].format() == "0"
            for j in range(len(extents))
        ]
        known = all(x is not None or y for x, y in zip(access.strides, stays))
        whole = self.trips(statement, 0) * self.at(access.elements[-1]) * size
        unique = self.at(access.elements[0]) * size
        lines, stride = 1.0, 0.0
        for j in reversed(range(len(extents))):
            if extents[j] > 1 and not stays[j]:
                if known:
                    stride = abs(self.at(access.strides[j]))
                    share = min(stride * size / LINE_BYTES, 1.0)
                    lines = max(1.0, self.trips(statement, 0, j + 1) * share)
                break
        run = self.at(access.runs[0]) if access.runs[0] is not None else 1
        unique_lines = max(1.0, unique / min(max(run, 1) * size, LINE_BYTES))
        kind, iterations, distance, count = self.reuse(s, access, stays)
        lines = lines if known else 0.0
        amounts = {
            "bytes": whole,
            "unique bytes": unique,
            "lines": lines,
            "unique lines": unique_lines,
        }
        found = {
            "reads": float(reads and not writes),
            "writes": float(writes and not reads),
            "updates": float(reads and writes),
            "multiple reads": float(kind == "multiple"),
            "serial reuse": float(kind == "serial"),
            "no reuse": float(kind is None),
            "reuse iterations": math.log1p(iterations),
            "reuse bytes": math.log1p(distance),
            "reuse count": math.log1p(count),
            "stride": math.log1p(stride),
            "strides known": float(known),
        }
        for name, amount in amounts.items():
            found[name] = math.log1p(amount)
            found[f"{name} by count"] = math.log1p(amount / max(count, 1))
        return found

    def reuse(self, s, access, stays):
        statement, extents = self.statements[s], self.extents(self.statements[s])
        writers = [
            p for p in self.statements[:s] if any(w.buffer == access.buffer for w in p.writes)
        ]
        for j in reversed(range(len(extents))):
            if extents[j] == 1:
                continue
            if stays[j]:
                inside = self.trips(statement, j + 1), self.touched(statement, j + 1)
                return "multiple", *inside, extents[j]
            if writers and self.together(writers[-1], statement) > j:
                together = [p for p in self.statements if self.together(p, statement) > j]
                touched = sum(self.touched(p, j + 1) for p in together)
                return "serial", self.trips(writers[-1], j + 1), touched, extents[j]
        return None, 0, 0, 0


@pytest.mark.parametrize("name", list(SPACES))
def test_fact_1_features_are_those_counted_config_by_config(name):
    """Exactly and relaxed, corners included."""
    sketch = opened(name)
    features = FelixFeatures.of(sketch)
    configs = configs_of(sketch)
    exact = features(configs)
    assert exact.shape == (len(configs), len(features.statements), len(NAMES))
    assert len(features.statements) == len(sketch.statements)
    relaxed = features.relaxed(torch.tensor(configs, dtype=torch.float64), width=0.25).numpy()
    assert np.abs(relaxed - exact).max() < 1e-6
    for config, rows in list(zip(configs, exact))[:: max(1, len(configs) // 20)]:
        counted = Counted(sketch, config)
        for s, row in enumerate(rows):
            wanted = counted.row(s)
            wrong = {n: (v, wanted[n]) for n, v in zip(NAMES, row) if abs(v - wanted[n]) > 1e-6}
            assert not wrong, (sketch.statements[s].name, config, wrong)


@pytest.mark.parametrize("name", ["primes", "unit loops", "CUDA cores", "conv2d"])
def test_fact_5_gates_are_exact_at_integers_and_nothing_is_infinite_in_the_box(name):
    sketch = opened(name)
    features = FelixFeatures.of(sketch)
    gated = [
        i
        for i, column in enumerate(NAMES)
        if column.endswith(("multiple reads", "serial reuse", "no reuse"))
    ]
    flags = features(configs_of(sketch, 60))[:, :, gated]
    assert np.isin(flags, (0.0, 1.0)).all()
    rng = np.random.default_rng(0)
    low, high = (np.array([f(d.domain) for d in sketch.decisions]) for f in (min, max))
    inside = low + (high - low) * rng.random((200, len(low)))
    at = torch.tensor(np.concatenate([inside, low[None], high[None]]), requires_grad=True)
    for width in (1.0, 0.25, 0.02):
        found = features.relaxed(at, width)
        assert torch.isfinite(found).all()
        (slope,) = torch.autograd.grad(found.sum(), at)
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("name", ["gemm", "primes", "conv2d", "CUDA cores", "tensor cores"])
def test_fact_4_slopes_are_central_differences(name):
    """Off the kinks, where a gate or a limit begins; a small step, for some slopes turn fast."""
    sketch = opened(name)
    features = FelixFeatures.of(sketch)
    rng = np.random.default_rng(3)
    logs = np.log(np.maximum(sketch.sample(20, rng), 1)) + rng.uniform(0.05, 0.3, (20, 1))
    weights = torch.tensor(rng.normal(size=(len(features.statements), len(NAMES))))

    def total(x):
        return (features.relaxed(torch.exp(x), 0.5) * weights).sum(dim=(1, 2))

    x = torch.tensor(logs, requires_grad=True)
    (slope,) = torch.autograd.grad(total(x).sum(), x)
    step = 1e-8
    worst, counted = [], []
    for column in range(logs.shape[1]):
        ahead, behind = logs.copy(), logs.copy()
        ahead[:, column] += step
        behind[:, column] -= step
        with torch.no_grad():
            both = total(torch.tensor(ahead)), total(torch.tensor(behind))
            middle = total(torch.tensor(logs))
        right, left = (both[0] - middle) / step, (middle - both[1]) / step
        smooth = (right - left).abs() < 1e-2 * (1 + slope[:, column].abs())
        found = ((both[0] - both[1]) / (2 * step) - slope[:, column]).abs()
        scale = 1 + slope[:, column].abs()
        worst.append((found / scale)[smooth])
        counted.append(smooth)
    assert torch.stack(counted).double().mean() > 0.5
    assert torch.cat(worst).max() < 1e-5


def test_unresolved_numbers_are_named_and_left_out():
    sketch = opened("gemm")
    statements = list(sketch.statements)
    whole = FelixFeatures(statements, {}, sketch.design.lattice)
    broken = list(statements)
    broken[0] = replace(statements[0], lanes=None)
    update = statements[-1]
    access = replace(update.accesses[0], strides=(None,) * len(update.loops))
    broken[-1] = replace(update, accesses=(access, *update.accesses[1:]))
    found = FelixFeatures(broken, {"C_global": None}, sketch.design.lattice)
    assert found.unknown[statements[0].name] == "lanes"
    assert found.unknown[f"{update.name}/{access.buffer}"] == "strides where it moves"
    assert "the size of its allocation" in found.unknown.values()
    configs = sketch.sample(4, np.random.default_rng(0))
    assert found(configs).shape[1] == whole(configs).shape[1] - 1
    slot = sorted({a.buffer for a in update.accesses}).index(access.buffer)
    row = dict(zip(NAMES, found(configs)[0, -1]))
    assert row[f"{slot}.strides known"] == row[f"{slot}.stride"] == row[f"{slot}.lines"] == 0.0
    assert row[f"{slot}.bytes"] > 0


def test_a_program_of_which_nothing_is_known_has_no_rows():
    sketch = opened("gemm")
    blank = [replace(s, unroll=None) for s in sketch.statements]
    features = FelixFeatures(blank, {}, sketch.design.lattice)
    configs = sketch.sample(3, np.random.default_rng(0))
    assert features(configs).shape == (3, 0, len(NAMES))
    assert set(features.unknown) == {s.name for s in blank}


def test_every_column_is_used_somewhere():
    """A column that is 0 for every program of the tests would be a mistake in its name."""
    used = np.zeros(len(NAMES), dtype=bool)
    for name in SPACES:
        sketch = opened(name)
        rows = FelixFeatures.of(sketch)(configs_of(sketch, 40))
        used |= (rows != 0).any(axis=(0, 1))
    names = [n.split(".", 1)[1] if n[0].isdigit() else n for n in NAMES]
    unused = set(names) - {name for name, some in zip(names, used) if some}
    rare = {"blockIdx.y", "blockIdx.z", "threadIdx.z", "guarded"}
    assert unused <= rare | {"int.div", "int.compare", "int.logic", "select", "float.compare"}
