"""Lines that a kill, a full disk or a person left behind: what is kept, and under which number."""

import json
import warnings

import pytest
from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx.record.contents import RECORDS, TRIALS, WORKLOADS, read_contents
from mschedx.record.schedules import load_database
from mschedx.record.trials import read_run
from mschedx.record.work_dir import MANIFEST, WorkDirError, WorkDirWarning
from mschedx.tuning import tune


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base")
    tune(gemm(), trials=4, work_dir=path, **quick(Runner([4, 1, 3, 2])))
    return {name: (path / name).read_bytes() for name in (WORKLOADS, RECORDS, TRIALS, MANIFEST)}


@pytest.fixture
def tuned(base, tmp_path):
    for name, data in base.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def retune(path, trials=4, func=None):
    return tune(func or gemm(), trials=trials, work_dir=path, **quick(Runner([9] * 8)))


def lines(path):
    return path.read_text().split("\n")[:-1]


@pytest.mark.parametrize("name", [WORKLOADS, RECORDS, TRIALS])
def test_a_newline_that_never_came_loses_nothing(tuned, base, name):
    (tuned / name).write_bytes(base[name][:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # there is nothing to say about it
        result = retune(tuned, trials=8)
    assert result.measured == 4
    assert [t.latency_s for t in result.history[:4]] == pytest.approx([4e-3, 1e-3, 3e-3, 2e-3])
    assert (tuned / name).read_bytes().startswith(base[name])
    assert all(json.loads(line) for line in lines(tuned / name))
    assert len(ms.database.JSONDatabase(work_dir=str(tuned))) == 8
    assert [t.round for t in result.history] == [0] * 8, "every record has its entry"


ODD = [
    *((TRIALS, line) for line in ("5", '"abc"', "[1]", "null", '{"record": 1}')),
    (TRIALS, '{"kind": "trial"}'),
    (TRIALS, '{"kind": "trial", "record": 3}'),
    (TRIALS, '{"kind": "trial", "index": 0, "record": 0, "latency_s": "fast"}'),
    (TRIALS, '{"kind": "trial", "index": 0, "record": 0, "latency_s": NaN}'),
    (TRIALS, '{"kind": "end", "workload": 0}'),
    (TRIALS, '{"kind": "end", "stages": {"Total": "long"}}'),
    (TRIALS, '{"kind": "verified", "workload": 0}'),
    (TRIALS, '{"kind": "disqualified", "record": null}'),
    (RECORDS, "[0, []]"),
    (RECORDS, "[0, null]"),
    (RECORDS, '{"a": 1}'),
    (RECORDS, '[0, [[[], []], ["a"], {"kind": "llvm"}, []]]'),
    (RECORDS, '[0, [[[], []], 0.5, {"kind": "llvm"}, []]]'),
    (RECORDS, '[0, [[[], []], [NaN], {"kind": "llvm"}, []]]'),
    (RECORDS, '[0, [[[], []], [1e999], {"kind": "llvm"}, []]]'),
    (RECORDS, "[0, [[[], []], [0.5], {}, []]]"),
    (RECORDS, '[0, [[[["Nonsense", [], [], []]], []], [0.5], {"kind": "llvm"}, []]]'),
    (RECORDS, '[0, [[[["Tensorize", [], 5, []]], []], [0.5], {"kind": "llvm"}, []]]'),
    (RECORDS, '[0, [[[], [[7, 1]]], [0.5], {"kind": "llvm"}, []]]'),
    (RECORDS, '[7, [[[], []], [0.5], {"kind": "llvm"}, []]]'),
    (RECORDS, '[true, [[[], []], [0.5], {"kind": "llvm"}, []]]'),
    (RECORDS, '[0, [[[], []], [0.5], {"kind": "llvm"}, [["TENSOR", "float32", "wide"]]]]'),
    (TRIALS, f'{{"kind": "trial", "index": 0, "record": 0, "latency_s": {10**400}}}'),
    (TRIALS, f'{{"kind": "trial", "index": 0, "record": {10**30}}}'),
    (TRIALS, f'{{"kind": "end", "stages": {{"Total": {10**400}}}}}'),
    (RECORDS, f'[0, [[[], []], [{10**400}], {{"kind": "llvm"}}, []]]'),
    (RECORDS, f'[{10**30}, [[[], []], [0.5], {{"kind": "llvm"}}, []]]'),
    (RECORDS, f'[0, [[[], []], [1], {{"kind": "llvm"}}, [["TENSOR", "int8", [{10**30}]]]]]'),
    (RECORDS, "[" * 5000),
    (RECORDS, "\xff"),
]


@pytest.mark.parametrize(("name", "line"), ODD)
def test_a_line_that_cannot_be_used_is_set_aside(tuned, base, name, line):
    data = base[name] + line.encode("latin-1") + b"\n"
    (tuned / name).write_bytes(data)
    with pytest.warns(WorkDirWarning, match=rf"{name}: set 1 broken line.* aside.*line \d+: "):
        result = retune(tuned)
    assert result.measured == 0
    assert any(name in note for note in result.notes)
    assert (tuned / name).read_bytes() == base[name]
    assert (tuned / f"{name}.bak").read_bytes() == data


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("SamplePerfectTile", value) for value in (None, 5, "4", [4], [[4], 4], {"a": 4})),
        *(("SamplePerfectTile", [*factors, 4]) for factors in ([10**30], [1.5], [True], [0], [-4])),
        *(("SampleCategorical", value) for value in (None, [1], 99, -1, 1.0, True, 10**30)),
        ("GetSBlock", 3),
    ],
)
def test_a_decision_that_its_instruction_does_not_take_is_set_aside(tuned, base, kind, value):
    """TVM raises for it, or ends the process, when the database is opened."""
    content = json.loads(lines(tuned / RECORDS)[0])
    instructions, decisions = content[1][0]
    place = next(i for i, instruction in enumerate(instructions) if instruction[0] == kind)
    decisions[:] = [one for one in decisions if one[0] != place] + [[place, value]]
    (tuned / RECORDS).write_bytes(base[RECORDS] + json.dumps(content).encode() + b"\n")
    with pytest.warns(WorkDirWarning, match=r"a decision is not \[instruction, what it may return"):
        result = retune(tuned)
    assert result.measured == 0
    assert (tuned / RECORDS).read_bytes() == base[RECORDS]


@pytest.mark.parametrize("name", [WORKLOADS, RECORDS, TRIALS])
def test_blank_lines_hold_nothing(tuned, base, name):
    (tuned / name).write_bytes(b"\n" + base[name].replace(b"\n", b"\n \n", 1))
    assert retune(tuned).measured == 0
    assert (tuned / name).read_bytes() == base[name]


def test_readers_see_what_tuning_sees(tuned, base):
    whole = base[RECORDS].split(b"\n")
    (tuned / RECORDS).write_bytes(b"\n".join([*whole[:2], b"%$#@", whole[2], whole[3][:99]]))
    run = read_run(tuned)
    assert [t.latency_s for t in run.trials] == pytest.approx([4e-3, 1e-3, 3e-3])
    assert len(load_database(run)) == 3
    with pytest.warns(WorkDirWarning, match="set 2 broken"):
        assert [t.latency_s for t in retune(tuned, 3).history] == [t.latency_s for t in run.trials]


def forget_workloads(path):
    """A journal of a version that kept no copies."""
    entries = [line for line in lines(path / TRIALS) if json.loads(line)["kind"] != "workload"]
    (path / TRIALS).write_text("\n".join(entries) + "\n")


def test_a_broken_workload_is_put_back_from_the_journal(tuned):
    retune(tuned, func=gemm(64))
    text = lines(tuned / WORKLOADS)
    (tuned / WORKLOADS).write_text("\n".join([text[0][:50], text[1]]) + "\n")
    with pytest.warns(WorkDirWarning, match=f"{WORKLOADS}: set 1 broken"):
        result = retune(tuned)
    assert result.measured == 0
    assert [t.latency_s for t in result.history] == pytest.approx([4e-3, 1e-3, 3e-3, 2e-3])
    assert retune(tuned, func=gemm(64)).measured == 0
    hashes = [{json.loads(line)[0] for line in one} for one in (lines(tuned / WORKLOADS), text)]
    assert hashes[0] == hashes[1]


def test_workloads_that_changed_places_keep_their_records(tuned):
    retune(tuned, func=gemm(64))
    (tuned / WORKLOADS).write_text("\n".join(reversed(lines(tuned / WORKLOADS))) + "\n")
    assert retune(tuned).latency_s == pytest.approx(1e-3)
    assert retune(tuned, func=gemm(64)).latency_s == pytest.approx(9e-3)


@pytest.mark.parametrize("part", ["decision", "seconds", "target"])
def test_a_record_that_was_changed_is_not_believed(tuned, part):
    content = json.loads(lines(tuned / RECORDS)[1])
    if part == "decision":
        content[1][0][1][0][1] = [1, 1, 1, 32]
    elif part == "seconds":
        content[1][1] = [1e-6]
    else:
        content[1][2]["mcpu"] = "znver4"
    text = lines(tuned / RECORDS)
    text[1] = json.dumps(content)
    (tuned / RECORDS).write_text("\n".join(text) + "\n")
    with pytest.warns(WorkDirWarning, match="line 2: not what was written there"):
        result = retune(tuned)
    assert result.measured == 1
    assert result.latency_s == pytest.approx(2e-3)


def test_records_that_changed_places_or_are_there_twice_are_counted_once(tuned):
    text = lines(tuned / RECORDS)
    (tuned / RECORDS).write_text("\n".join([text[2], *text, text[0]]) + "\n")
    with pytest.warns(WorkDirWarning, match=r"line 4: a copy of line 1; line 6: a copy of line 2"):
        result = retune(tuned)
    assert result.measured == 0
    assert [t.latency_s for t in result.history] == pytest.approx([3e-3, 4e-3, 1e-3, 2e-3])
    assert [t.round for t in result.history] == [0] * 4


def test_a_record_of_another_function_is_set_aside(tuned):
    other = json.loads(lines(tuned / RECORDS)[0])
    other[1][3][0][2] = [64, 64]
    with (tuned / RECORDS).open("a") as file:
        file.write(json.dumps(other) + "\n")
    with pytest.warns(WorkDirWarning, match="its arguments are not those of its workload"):
        assert len(retune(tuned).history) == 4


def test_a_broken_workload_takes_its_own_records_only(tuned):
    retune(tuned, func=gemm(64))
    retune(tuned, func=gemm(48))
    forget_workloads(tuned)
    text = lines(tuned / WORKLOADS)
    (tuned / WORKLOADS).write_text("\n".join([text[0], text[1][:50], text[2]]) + "\n")
    with pytest.warns(WorkDirWarning, match=r"its workload, line 2 of .*, is broken"):
        result = retune(tuned, func=gemm(48))
    assert result.measured == 0
    assert [record[0] for record in read_contents(tuned).records] == [0] * 4 + [1] * 4
    assert retune(tuned).measured == 0
    assert [t.round for t in result.history] == [0] * 4, "the journal follows"


def test_entries_of_a_round_that_was_never_recorded_are_forgotten(tuned, base):
    """A kill after the journal's entries and before TVM's records."""
    kept = b"".join(line + b"\n" for line in base[RECORDS].split(b"\n")[:2])
    (tuned / RECORDS).write_bytes(kept)
    result = retune(tuned)
    assert result.measured == 2
    entries = [json.loads(line) for line in lines(tuned / TRIALS)]
    places = [entry["record"] for entry in entries if entry["kind"] == "trial"]
    assert places == [0, 1, 2, 3]
    assert [t.session for t in result.history] == [0, 0, 1, 1]


def test_an_entry_about_another_measurement_is_not_believed(tuned):
    entries = [json.loads(line) for line in lines(tuned / TRIALS)]
    (entry,) = (e for e in entries if e["kind"] == "trial" and e["record"] == 2)
    entry.update(latency_s=7.0, predicted=5.0)
    (tuned / TRIALS).write_text("".join(json.dumps(e) + "\n" for e in entries))
    trial = read_run(tuned).trials[2]
    assert (trial.latency_s, trial.predicted) == (pytest.approx(3e-3), None)


def other_target(path, **more):
    target = {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}
    return tune(gemm(), trials=4, work_dir=path, **{**quick(Runner()), "target": target, **more})


@pytest.mark.parametrize("manifest", [None, "5", '{"target": 3}'])
def test_records_of_another_target_are_refused_without_a_manifest(tuned, manifest):
    (tuned / MANIFEST).unlink()
    if manifest is not None:
        (tuned / MANIFEST).write_text(manifest)
    with pytest.raises(WorkDirError, match=r"haswell.*znver4.*one work_dir for each"):
        other_target(tuned)


def test_a_run_that_measured_nothing_claims_no_folder(tmp_path):
    with pytest.raises(ValueError, match="nonsense"):
        tune(gemm(), work_dir=tmp_path, **quick(Runner(), strategy="nonsense"))
    assert other_target(tmp_path).measured == 4


def test_records_name_the_intrinsics_that_they_miss(tuned):
    content = json.loads(lines(tuned / RECORDS)[0])
    content[1][0][0].append(["Tensorize", ["b0"], ["somebodys_dot", 1], []])
    with (tuned / RECORDS).open("a") as file:
        file.write(json.dumps(content) + "\n")
    before = (tuned / RECORDS).read_bytes()
    with pytest.raises(WorkDirError, match=r"somebodys_dot.*TensorIntrin\.register\(name"):
        retune(tuned)
    assert (tuned / RECORDS).read_bytes() == before, "such a record is sound"
    with pytest.raises(WorkDirError, match="somebodys_dot"):
        load_database(read_run(tuned))
