"""Strategies and cost models by name, known ones and a user's own."""

import sys
from types import ModuleType

import pytest
from tvm.s_tir import meta_schedule as ms

from mschedx import cost, search
from mschedx.bench.compare.tuners import find_tuner
from mschedx.bench.named_parts import MODELS, STRATEGIES, find_model, find_parts, find_strategy
from mschedx.bench.replay import find_contender
from mschedx.cost.psa import PSAModel
from mschedx.search.gradients import lacks_gradients


def kinds(*names):
    return {name: type(part).__name__ for name, part in find_parts(*names)().items()}


@pytest.fixture(autouse=True)
def theirs(monkeypatch):
    module = ModuleType("theirs")
    module.strategy = lambda: search.GradientDescent(fallback="score")
    module.model = PSAModel
    module.tvm = lambda: "xgb"
    module.number = lambda: 3
    monkeypatch.setitem(sys.modules, "theirs", module)


def test_every_strategy_is_made():
    made = {name: named.make() for name, named in STRATEGIES.items()}
    tvm = {name for name, part in made.items() if isinstance(part, str)}
    assert tvm == {"evolutionary", "replay-trace", "replay-func"}
    for name in tvm:
        assert isinstance(ms.SearchStrategy.create(name), ms.SearchStrategy)
    ours = {name: part for name, part in made.items() if name not in tvm}
    assert all(isinstance(part, search.Strategy) for part in ours.values())
    assert {type(part) for part in ours.values()} == {
        search.ConstrainedEvolution,
        search.ConstrainedRandom,
        search.DraftVerify,
        search.GradientDescent,
        search.RepairedGenetic,
    }
    assert {named.beside for named in STRATEGIES.values()} <= {None, *MODELS}


def test_every_cost_model_is_made():
    made = {name: find_model(name)() for name, named in MODELS.items() if not named.needed}
    tvm = {name for name, part in made.items() if isinstance(part, str)}
    assert tvm == {"xgb", "mlp", "random", "none"}
    ours = {type(part).__name__ for name, part in made.items() if name not in tvm}
    assert ours == {"HeronXGB", "PSA", "PAM", "MoA", "FelixMLP", "Consensus"}
    assert {name for name in MODELS if MODELS[name].needed} == {"tlp", "one-shot"}


@pytest.mark.parametrize("name", ["tlp", "one-shot"])
def test_weights_of_another_model_are_refused(name):
    with pytest.raises(ValueError, match=r"expected model 'TLP'|expected model 'One"):
        find_parts(None, f"{name}:cpu")()


def test_weights_come_behind_a_colon(tmp_path):
    written = tmp_path / "own.safetensors"
    cost.PAM(pretrained="cpu").save(str(written))
    fresh, named, own = (find_model(name)() for name in ("pam", "pam:cpu", f"pam:{written}"))
    assert not fresh.model._pretrained
    assert named.model._pretrained
    assert own.model._pretrained
    with pytest.raises(FileNotFoundError, match="expected a file of weights"):
        find_parts(None, "pam:absent.safetensors")()


def test_a_strategy_brings_the_model_of_its_paper_or_none():
    assert kinds("pruner") == kinds("pruner", "pam")
    assert kinds("draft-verify") == {"strategy": "DraftVerify"}
    assert kinds("gradient") == kinds("felix") == {"strategy": "GradientDescent"}
    assert kinds("heron") == {"strategy": "ConstrainedEvolution"}
    assert kinds() == {}


@pytest.mark.parametrize(
    ("tuner", "names"),
    [
        ("pruner", ("pruner",)),
        ("felix", ("felix", "felix")),
        ("random", ("random",)),
        ("genetic", ("genetic",)),
    ],
)
def test_tuners_are_put_together_of_named_parts(tuner, names):
    made = {part: type(one).__name__ for part, one in find_tuner(tuner).parts().items()}
    assert made == kinds(*names)


def test_a_users_own_stand_beside_known_ones():
    assert kinds("theirs:strategy", "theirs:model") == {
        "strategy": "GradientDescent",
        "cost_model": "TVMCostModel",
    }
    assert find_parts(None, "theirs:tvm")() == {"cost_model": "xgb"}
    assert find_strategy("theirs:tvm").make() == "xgb", "a name, which TVM knows or refuses"


def test_names_are_looked_up_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("from mschedx.cost import PSA as model\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", ".")])
    before = list(sys.path)
    for _ in range(2):
        assert kinds(None, "beside:model") == {"cost_model": "PSA"}
        assert sys.path == [*before, str(tmp_path)]
    sys.modules.pop("beside")


def test_what_a_users_function_imports_is_found_there_too(tmp_path, monkeypatch):
    (tmp_path / "beside_it.py").write_text("from mschedx.cost import PSA\n")
    (tmp_path / "imports_late.py").write_text(
        "import sys\n"
        "sys.path.remove('')  # as some do\n"
        "def model():\n    from beside_it import PSA\n    return PSA()\n"
        "def absent():\n    import not_to_be_found\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", ".")])
    assert kinds(None, "imports_late:model") == {"cost_model": "PSA"}
    for name in ("imports_late", "beside_it"):
        monkeypatch.delitem(sys.modules, name)
    says = r"imports_late:absent\(\) cannot import what it needs: No module named 'not_to_be_found'"
    made = (
        find_parts("imports_late:absent"),
        find_parts(None, "imports_late:absent"),
        find_tuner("imports_late:absent").parts,
        lambda: find_contender("imports_late:absent", {}),
    )
    for make in made:
        with pytest.raises(ValueError, match=says):
            make()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("prunner", None), r"unknown strategy prunner; .*random.*; did you mean 'pruner'\?"),
        ((None, "felixx"), r"unknown cost model felixx; .*consensus.*; did you mean 'felix'\?"),
        ((None, "felx:x"), r"cannot import cost model felx:x: No module.*mean 'felix'\?"),
        ((None, "psa:x"), "psa has no weights to load, got 'psa:x'; these do: pam, moa, felix"),
        ((None, "xgb:x"), "xgb has no weights to load"),
        ((None, "tlp"), r"expected tlp with the weights .* as tlp:FILE"),
        ((None, "one-shot:"), "expected one-shot with the weights"),
        ((":model", None), "cannot import strategy :model"),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_made(names, says):
    with pytest.raises(ValueError, match=says):
        find_parts(*names)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("theirs:number", None), r"expected theirs:number\(\) to return a strategy .* got int"),
        ((None, "theirs:number"), r"theirs:number\(\): expected a cost model with the methods"),
    ],
)
def test_what_does_not_fit_is_refused(names, says):
    with pytest.raises(ValueError, match=says):
        find_parts(*names)()


@pytest.mark.parametrize("model", ["felix", "pam", "psa", "moa"])
def test_models_that_are_said_to_have_gradients_have_them(model):
    parts = find_parts("gradient", model)()
    assert not lacks_gradients(parts["strategy"], parts["cost_model"])
