"""Terms of the CUDA model that hold on every device; test_counts_and_statements has counts."""

import numpy as np
import pytest
from cuda_workloads import TARGET, WORKLOADS
from tvm.target import Target

from mschedx.cost.analytical.cuda import cuda_costs
from mschedx.cost.analytical.view import ProgramView
from mschedx.hardware import Hardware


@pytest.mark.parametrize("name", ["f16", "s8_nt"])
def test_products_take_tensor_cores_time_and_fragments_shared_memorys(name):
    target = Target(TARGET)
    for sketch in WORKLOADS[name].sketches(target):
        configs = sketch.sample(8, np.random.default_rng(0))
        program = ProgramView(sketch.statements, sketch.analysis.allocations)
        costs = cuda_costs(program(configs), Hardware.from_device("a100"))
        multiply = [one for one in costs.statements if one.name == "C_o_update"]
        loads = [one for one in costs.statements if "_reindex_shared.dyn_" in one.name]
        assert len(multiply) == 1
        assert len(loads) == 2
        assert (multiply[0].terms["tensor"] > 0).all()
        # A warp's load moves hundreds of bytes: as much as a share of the copy that filled them.
        fills = [one for one in costs.statements if one.name.endswith("_reindex_shared.dyn")]
        least = sum(one.terms["shared"] for one in fills)
        assert (sum(one.terms["shared"] for one in loads) >= 0.99 * least).all()
