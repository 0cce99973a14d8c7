"""Every strategy with every kind of cost model, through ``ms.tune_tir`` on a real GEMM.

Building and running are stand-ins, so that what is checked is the conversation with TVM.
"""

from functools import cache

import numpy as np
import pytest
import tvm
import tvm_ffi
from dummy import NoBuilder, NoRunner, context, evolutionary, gemm, relu, softmax, target, tune
from first_guess import FirstGuess
from tvm import relax
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.cost_model import PyCostModel
from tvm.script import relax as R

from mschedx import compat, workloads
from mschedx.bench.pretrain import new_model
from mschedx.cost import (
    PAM,
    PSA,
    Consensus,
    FelixConfig,
    FelixMLP,
    HeronXGB,
    Measured,
    MoA,
    MoAConfig,
    PAMConfig,
    TrainConfig,
    TVMCostModel,
)
from mschedx.cost.adapter import Conversation
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.search import (
    ConstrainedEvolution,
    ConstrainedRandom,
    DraftVerify,
    GradientDescent,
    RepairedGenetic,
)
from mschedx.space import sketches
from mschedx.space.target import for_target

SMALL = {"population": 40, "generations": 2, "batch": 8, "pool": 48}
STRATEGIES = {
    "constrained evolution": lambda: ConstrainedEvolution(**SMALL),
    "random keys": lambda: ConstrainedEvolution(**SMALL, keys="random"),
    "constrained random": lambda: ConstrainedRandom(batch=8),
    "repaired genetic": lambda: RepairedGenetic(**SMALL),
    "draft, verify": lambda: DraftVerify(
        FirstGuess(), population=40, drafts=20, parents=10, batch=8, pool=48
    ),
    "gradient descent": lambda: GradientDescent(
        n_seeds=6, n_steps=4, samples=16, batch=8, fallback="score"
    ),
}


@derived_object
class Foreign(PyCostModel):
    """A model of another package: it knows TVM's interface and nothing of ours."""

    def __init__(self, answer=lambda n: np.arange(n) + 1.0):
        super().__init__()
        self.answer, self.updates = answer, 0

    def load(self, path):
        pass

    def save(self, path):
        pass

    def update(self, context, candidates, results):
        self.updates += 1

    def predict(self, context, candidates):
        return self.answer(len(candidates))


@cache
def trained(name):
    """A model that learns from data sets alone, after one pass over programs of our space."""
    sketch = sketches(gemm(), target())[0]
    configs = sketch.sample(8, np.random.default_rng(0))
    measured = [Measured(sketch, configs, 1e-3 * np.arange(1.0, 9.0))]
    model = new_model(name, epochs=1, published=False, seed=0)
    model.train(model.examples_of([(sketch.task, measured)]), target_kind="llvm")
    return model


MODELS = {
    "PSA": PSA,
    "TLP": lambda: TVMCostModel(trained("tlp")),
    "One-Shot Tuner": lambda: TVMCostModel(trained("one-shot")),
    "HeronXGB": HeronXGB,
    "PAM": lambda: PAM(PAMConfig(train=TrainConfig(epochs=3, warm_epochs=2))),
    "MoA": lambda: MoA("cpu", MoAConfig(train=TrainConfig(epochs=3, warm_epochs=2))),
    "Consensus": Consensus,
    "FelixMLP": lambda: FelixMLP(FelixConfig(members=2, width=16, steps=20, later_steps=10)),
    "xgb": lambda: "xgb",
    "random": lambda: "random",
    "none": lambda: "none",
    "foreign": Foreign,
}


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works_with_every_model(strategy, model, tmp_path):
    database, programs = tune(gemm(), tmp_path, STRATEGIES[strategy](), MODELS[model](), trials=19)
    assert len(database) == len(programs) == len(set(programs)) == 19


@pytest.mark.parametrize(
    "strategy", [evolutionary, lambda: "replay-trace"], ids=["evolutionary", "replay-trace"]
)
def test_our_model_works_with_strategies_of_tvm(strategy, tmp_path):
    model = HeronXGB()
    database, _ = tune(
        gemm(),
        tmp_path,
        strategy(),
        model,
        trials=24,
        num_trials_per_iter=8,
        runner=NoRunner(fail=5),
    )
    assert len(database) == 24
    # It learnt: 24 trials, of which TVM's scheduler shows every one that was built.
    model.save(str(tmp_path / "model"))
    with np.load(tmp_path / "model") as stored:
        assert stored["latency_s_0"].shape == (24,)
        assert np.isinf(stored["latency_s_0"]).sum() == 4


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("strategy", ["constrained evolution", "draft, verify", "gradient descent"])
@pytest.mark.parametrize("space", ["post-order-apply", "ours", "function", "union"])
def test_every_kind_of_space_works(space, strategy, tmp_path):
    def by_hand(sch):
        i, j, k = sch.get_loops(sch.get_sblock("C"))
        i0, i1 = sch.split(i, sch.sample_perfect_tile(i, 2, max_innermost_factor=16))
        j0, j1 = sch.split(j, sch.sample_perfect_tile(j, 2, max_innermost_factor=16))
        sch.reorder(i0, j0, k, i1, j1)

    spaces = {
        "post-order-apply": lambda: "post-order-apply",
        "ours": lambda: for_target(target()),
        "function": lambda: ms.space_generator.ScheduleFn(by_hand),
        "union": lambda: ms.space_generator.SpaceGeneratorUnion(
            [
                ms.space_generator.ScheduleFn(by_hand),
                ms.space_generator.ScheduleFn(by_hand),
            ]
        ),
    }
    model = MODELS["FelixMLP"]()
    database, programs = tune(
        gemm(), tmp_path, STRATEGIES[strategy](), model, space=spaces[space]()
    )
    assert len(database) == len(set(programs)) == 16


A100 = tvm.target.Target("nvidia/nvidia-a100")
ON_CUDA = {
    "post-order-apply": lambda: (gemm(), "post-order-apply"),
    "tensor cores": lambda: (workloads.make("gemm", (64, 64, 64), "float16"), for_target(A100)),
}


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("model", ["PSA", "HeronXGB", "PAM", "FelixMLP"])
@pytest.mark.parametrize("strategy", ["constrained evolution", "draft, verify", "gradient descent"])
@pytest.mark.parametrize("space", ON_CUDA)
def test_searches_of_cuda_run_through_tvm(space, strategy, model, tmp_path):
    function, of = ON_CUDA[space]()
    parts = STRATEGIES[strategy](), MODELS[model]()
    database, programs = tune(function, tmp_path, *parts, space=of, target=A100)
    assert len(database) == len(set(programs)) == 16


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("strategy", ["draft, verify", "gradient descent"])
def test_a_task_of_which_every_trial_fails_ends_with_its_budget(strategy, tmp_path):
    model = MODELS["FelixMLP"]()
    database, programs = tune(
        gemm(), tmp_path, STRATEGIES[strategy](), model, trials=24, runner=NoRunner(fail=1)
    )
    assert len(database) == len(set(programs)) == 24
    assert database.get_top_k(database.get_all_tuning_records()[0].workload, 1) == []


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_searches_run_through_tune_relax(strategy, tmp_path):
    @R.function
    def main(x: R.Tensor((16, 32), "float32"), w: R.Tensor((32, 48), "float32")):
        with R.dataflow():
            product = R.matmul(x, w)
            out = R.nn.softmax(R.nn.relu(product))
            R.output(out)
        return out

    mod = relax.transform.LegalizeOps()(tvm.IRModule({"main": main}))
    builder = NoBuilder()
    with compat.only_intrinsics(target()):
        database = ms.relax_integration.tune_relax(
            mod,
            {},
            target(),
            str(tmp_path),
            max_trials_global=24,
            max_trials_per_task=8,
            builder=builder,
            runner=NoRunner(),
            strategy=STRATEGIES[strategy](),
            cost_model=MODELS["FelixMLP"](),
            seed=1,
        )
    assert len(database) == len(builder.programs) >= 16


@pytest.mark.usefixtures("analysed_once")
def test_tasks_of_different_kinds_end_when_their_space_does(tmp_path):
    """A task without a single decision is one trial; the others use the rest of the budget."""
    functions = {"gemm": gemm(), "softmax": softmax(), "relu": relu(n=7)}
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    database, programs = tune(
        module,
        tmp_path,
        ConstrainedEvolution(**SMALL),
        HeronXGB(),
        trials=60,
        max_trials_per_task=24,
    )
    by_task = {
        name: sum(
            tvm_ffi.structural_equal(
                record.workload.mod["main"].body, func.body, map_free_vars=True
            )
            for record in database.get_all_tuning_records()
        )
        for name, func in functions.items()
    }
    assert by_task["gemm"] == by_task["softmax"] == 24
    assert 1 <= by_task["relu"] < 24
    assert len(programs) == len(set(programs))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_candidates_for_any_number_of_workers(
    strategy, tmp_path, request
):
    """heron.md section 9, fact 10; of the first strategy every run analyses for itself."""
    if strategy != next(iter(STRATEGIES)):
        request.getfixturevalue("analysed_once")
    asked = [
        (7, {"num_tuning_cores": 1}),
        (7, {"num_tuning_cores": 2}),
        (7, {"num_tuning_cores": 4, "task_scheduler": "round-robin"}),
        (8, {"num_tuning_cores": 1}),
    ]
    runs = [
        tune(gemm(), tmp_path / str(i), STRATEGIES[strategy](), HeronXGB(), seed=seed, **options)[1]
        for i, (seed, options) in enumerate(asked)
    ]
    assert runs[0] == runs[1] == runs[2] != runs[3]


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("how", ["drafts", "ready model"])
def test_a_search_that_scores_measures_bytes_that_compile(how, tmp_path):
    """In TVM's space ``VectorizeLoop`` refuses more than half; an analysis knows which."""
    on = tvm.target.Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})
    mod = tvm.IRModule({"main": workloads.make("gemm", (64, 64, 32), "int8")})
    space = "post-order-apply"
    draft = DraftVerify(FirstGuess(), population=40, drafts=20, parents=10, batch=8)
    strategy = draft if how == "drafts" else ConstrainedEvolution(**SMALL)
    database, _ = tune(mod, tmp_path, strategy, PSA(), space=space, target=on)
    known = sketches(mod, on, space)
    for record in database.get_all_tuning_records():
        found = [(sketch, sketch.config_of(record.trace)) for sketch in known]
        (sketch, config) = next((s, c) for s, c in found if c is not None)
        assert all(c.holds(config[None]).all() for c in sketch.analysis.constraints)


@pytest.mark.usefixtures("analysed_once")
def test_our_model_is_asked_on_arrays(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("predict was called on candidates")

    monkeypatch.setattr(Conversation, "predict", refuse)
    scored = []
    score = HeronXGBModel.score

    def count(self, task, asked):
        scored.append(sum(len(configs) for _, configs in asked))
        return score(self, task, asked)

    monkeypatch.setattr(HeronXGBModel, "score", count)
    tune(gemm(), tmp_path, ConstrainedEvolution(**SMALL), HeronXGB())
    assert sum(scored) >= 80


@pytest.mark.usefixtures("analysed_once")
def test_a_second_run_measures_nothing_again_and_learns_from_the_first(tmp_path, monkeypatch):
    """The same work_dir, another seed: fact 14 across runs."""
    first = tune(gemm(), tmp_path, ConstrainedEvolution(**SMALL), HeronXGB(), seed=1)[1]
    learnt = []
    learn = HeronXGBModel.learn

    def note(self, task, measured):
        learnt.append(sum(len(part.configs) for part in measured))
        learn(self, task, measured)

    monkeypatch.setattr(HeronXGBModel, "learn", note)
    database, second = tune(gemm(), tmp_path, ConstrainedEvolution(**SMALL), HeronXGB(), seed=2)
    assert len(set(first) | set(second)) == 32 == len(database)
    assert learnt[0] == 16


@pytest.mark.usefixtures("analysed_once")
def test_records_of_another_target_are_not_ours(tmp_path):
    first = tune(gemm(), tmp_path, ConstrainedRandom(), "none", seed=1)[1]
    other = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 4})
    with compat.only_intrinsics(other):
        ms.tune_tir(
            gemm(),
            other,
            str(tmp_path),
            16,
            builder=(builder := NoBuilder()),
            runner=NoRunner(),
            strategy=ConstrainedRandom(),
            cost_model="none",
            seed=1,
        )
    # Same seed, same workload: had the records counted, none would have come back.
    assert set(builder.programs) & set(first)


@pytest.mark.usefixtures("analysed_once")
def test_failing_candidates_are_records_and_the_search_goes_on(tmp_path):
    database, programs = tune(
        gemm(),
        tmp_path,
        ConstrainedEvolution(**SMALL),
        HeronXGB(),
        trials=32,
        builder=NoBuilder(fail=3),
        runner=NoRunner(fail=4),
    )
    records = database.get_all_tuning_records()
    failed = [r for r in records if float(r.run_secs[0]) > 1e9]
    assert len(records) == len(set(programs)) == 32
    assert len(failed) == 10 + 5
    workload = database.commit_workload(records[0].workload.mod)
    assert len(database.get_top_k(workload, 99)) == 17


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: np.full(n, np.nan), "scores are not finite"),
        (lambda n: np.ones(n + 1), "could not broadcast"),
    ],
)
def test_nonsense_from_a_cost_model_stops_the_run_with_its_name(answer, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tune(gemm(), tmp_path, ConstrainedEvolution(**SMALL), Foreign(answer))


@pytest.mark.usefixtures("analysed_once")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_life_of_a_strategy(strategy):
    """TVM's own conformance: rounds of 7 for 20 trials, None at the end, and again."""
    tuned = context(STRATEGIES[strategy]())
    for _ in range(2):
        tuned.pre_tuning(max_trials=20, num_trials_per_iter=7, cost_model=HeronXGB())
        sizes = []
        while (batch := tuned.generate_measure_candidates()) is not None:
            sizes.append(len(batch))
            results = [ms.runner.RunnerResult([1e-3 * (i + 1)], None) for i in range(len(batch))]
            tuned.notify_runner_results(batch, results)
        assert sizes == [7, 7, 6]
        assert tuned.generate_measure_candidates() is None
        tuned.post_tuning()
