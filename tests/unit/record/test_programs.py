import json

from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx.hardware import host_target
from mschedx.inputs import normalize_mod
from mschedx.record import lines
from mschedx.record.contents import TRIALS
from mschedx.record.programs import program_hash, recorded_trials
from mschedx.record.work_dir import open_work_dir
from mschedx.search import ConstrainedRandom
from mschedx.tuning import tune


def test_the_journal_knows_the_programs_that_replaying_would_give(tmp_path):
    result = tune(gemm(), trials=6, work_dir=tmp_path, **quick(Runner()))
    database = result.database
    replayed = {
        program_hash(record.as_measure_candidate().sch.mod)
        for record in database.get_all_tuning_records()
    }
    found = recorded_trials(database, normalize_mod(gemm()))
    assert {one.program for one in found} == replayed
    assert len(found) == len(database)
    assert recorded_trials(database, normalize_mod(gemm(64))) is None


def test_a_record_without_its_hash_is_told_apart(tmp_path):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    entries = [json.loads(line) for line in (tmp_path / TRIALS).read_text().splitlines()]
    del next(e for e in entries if e["kind"] == "trial")["program"]
    (tmp_path / TRIALS).write_text("".join(json.dumps(e) + "\n" for e in entries))
    found = [one.program for one in recorded_trials(result.database, normalize_mod(gemm()))]
    assert found[0] is None
    assert None not in found[1:]
    (tmp_path / TRIALS).unlink()
    found = recorded_trials(result.database, normalize_mod(gemm()))
    assert [one.program for one in found] == [None] * 4
    assert recorded_trials(ms.database.MemoryDatabase(), normalize_mod(gemm())) is None


def test_a_run_may_change_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_work_dir("run", host_target()) as opened:
        monkeypatch.chdir("run")
    with open_work_dir(tmp_path / "run", host_target()) as again:
        assert again.contents == opened.contents


def test_a_resumed_run_parses_no_line_twice(tmp_path, monkeypatch):
    ours = quick(Runner(), strategy=ConstrainedRandom())
    tune(gemm(), trials=6, work_dir=tmp_path, **ours)
    parsed = []
    parse = lines.parse
    monkeypatch.setattr(lines, "parse", lambda text: parsed.append(text) or parse(text))
    result = tune(gemm(), trials=8, work_dir=tmp_path, **ours)
    assert result.measured == 2
    assert len(parsed) >= 8
    assert len(parsed) == len(set(parsed))
    parsed.clear()
    database, wanted = result.database, normalize_mod(gemm())
    assert len(recorded_trials(database, wanted)) == 8
    assert len(recorded_trials(database, wanted)) == 8
    assert len(parsed) == 2 * len(set(parsed)), "once a run has ended, files are read anew"
