"""Data sets of made-up latencies, of products in TVM's space."""

import numpy as np
import tvm

from mschedx.bench.collect import declared, open_workload
from mschedx.cost.learned.features import ProgramFeatures
from mschedx.record.dataset import DatasetFile
from mschedx.workloads import Workload

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
TVM = "post-order-apply"
SIZES = ((64, 48, 32), (32, 96, 64), (48, 48, 48), (96, 32, 32))


def gemm(sizes):
    return Workload("gemm", "gemm", sizes)


def written(path, sizes=SIZES, n=40, failing=(), space=TVM, on=TARGET):
    """A data set of made-up latencies, longer where tiles touch more."""
    file = DatasetFile(path)
    for number, size in enumerate(sizes):
        sketches = open_workload(gemm(size), on, space)
        task = declared(gemm(size), on, space, sketches)
        file.declare(task)
        for index, sketch in enumerate(sketches):
            configs = sketch.sample(n, np.random.default_rng(number))
            rows = ProgramFeatures.of(sketch)(configs).statements[:, :, :60].astype(np.float64)
            seconds = 1e-6 * np.exp2(rows.sum(axis=(1, 2)) / 40)
            if number in failing:
                seconds[:] = np.inf
            file.append(task.key, index, configs, seconds)
    return path
