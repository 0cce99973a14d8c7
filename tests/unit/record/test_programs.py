import json

from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx.inputs import normalize_mod
from mschedx.record.contents import TRIALS
from mschedx.record.programs import program_hash, recorded_programs
from mschedx.tuning import tune


def test_the_journal_knows_the_programs_that_replaying_would_give(tmp_path):
    result = tune(gemm(), trials=6, work_dir=tmp_path, **quick(Runner()))
    database = result.database
    replayed = {
        program_hash(record.as_measure_candidate().sch.mod)
        for record in database.get_all_tuning_records()
    }
    assert recorded_programs(database, normalize_mod(gemm())) == replayed
    assert recorded_programs(database, normalize_mod(gemm(64))) is None


def test_a_record_without_its_hash_makes_the_answer_unknown(tmp_path):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    entries = [json.loads(line) for line in (tmp_path / TRIALS).read_text().splitlines()]
    del next(e for e in entries if e["kind"] == "trial")["program"]
    (tmp_path / TRIALS).write_text("".join(json.dumps(e) + "\n" for e in entries))
    assert recorded_programs(result.database, normalize_mod(gemm())) is None
    (tmp_path / TRIALS).unlink()
    assert recorded_programs(result.database, normalize_mod(gemm())) is None
    assert recorded_programs(ms.database.MemoryDatabase(), normalize_mod(gemm())) is None
