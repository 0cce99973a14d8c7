import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import tvm_ffi
from tvm.s_tir import meta_schedule as ms

from mschedx.hardware import host_target
from mschedx.models import make

EXAMPLE = Path(__file__).parents[2] / "examples" / "tune_relax_cnn.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("tune_relax_cnn", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_tuned_model_equals_torch(example, tmp_path):
    model, (image,) = make("resnet18", small=True)
    mod = example.import_model(model, image)
    target = host_target()
    database = example.tune_model(mod, target, str(tmp_path), trials=16, per_task=2)
    records = database.get_all_tuning_records()
    ran = [r for r in records if r.run_secs and float(r.run_secs[0]) < 1e9]
    assert len(ran) == len(records), "none of these spaces has a program that fails"
    names = {r.workload.mod["main"].attrs["global_symbol"] for r in ran}
    assert len({tvm_ffi.structural_hash(r.workload.mod) for r in ran}) >= 6, names

    executable = ms.relax_integration.compile_relax(database, mod, target, params=None)
    found = example.run_model(executable, image)
    with torch.no_grad():
        expected = model(image).numpy()
    assert np.abs(expected).max() > 0.1, "a model whose output is near zero proves nothing"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
