import base64
import json
import multiprocessing
import os
import re

import pytest
from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx.inputs import normalize_target
from mschedx.record.contents import RECORDS, TRIALS, WORKLOADS
from mschedx.record.lines import read_lines
from mschedx.record.work_dir import MANIFEST, WorkDirError, WorkDirWarning, open_work_dir
from mschedx.tuning import tune


@pytest.fixture
def tuned(tmp_path):
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([4, 1, 3, 2])))
    return tmp_path


def retune(path, trials=4, latencies=(9,) * 8):
    return tune(gemm(), trials=trials, work_dir=path, **quick(Runner(latencies)))


def truncate_last_line(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1][: len(lines[-1]) // 2]]))


def test_manifest_says_what_made_the_records(tuned):
    manifest = json.loads((tuned / MANIFEST).read_text())
    assert manifest["target"] == {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}
    assert {"mschedx", "tvm", "tvm_ffi"} <= set(manifest)


def test_truncated_record_is_dropped_and_measured_again(tuned):
    original = (tuned / RECORDS).read_text()
    truncate_last_line(tuned / RECORDS)
    cut = (tuned / RECORDS).read_text()
    with pytest.warns(WorkDirWarning, match=rf"{RECORDS}: set 1 broken line"):
        result = retune(tuned)
    assert result.measured == 1
    assert (tuned / f"{RECORDS}.bak").read_text() == cut
    assert (tuned / RECORDS).read_text().splitlines()[:3] == original.splitlines()[:3]
    assert len(ms.database.JSONDatabase(work_dir=str(tuned))) == 4
    assert result.latency_s == pytest.approx(1e-3)


def test_a_line_broken_in_the_middle_takes_only_itself(tuned):
    lines = (tuned / RECORDS).read_text().splitlines()
    lines[0] = lines[0][:50]
    (tuned / RECORDS).write_text("\n".join(lines) + "\n")
    with pytest.warns(WorkDirWarning):
        result = retune(tuned)
    assert result.measured == 1
    assert [t.latency_s for t in result.history] == pytest.approx([1e-3, 3e-3, 2e-3, 9e-3])
    assert [t.round for t in result.history][:3] == [0, 0, 0], "the journal follows the records"


def forget_workloads(path):
    """A journal of a version that kept no copies."""
    lines = [line for line in read_lines(path / TRIALS) if line.content["kind"] != "workload"]
    (path / TRIALS).write_text("".join(line.text + "\n" for line in lines))


def test_truncated_workload_takes_its_records_along(tuned):
    tune(gemm(64), trials=4, work_dir=tuned, **quick(Runner([5] * 4)))
    forget_workloads(tuned)
    truncate_last_line(tuned / WORKLOADS)
    with pytest.warns(WorkDirWarning) as caught:
        result = retune(tuned)
    assert [re.search(r"set (\d)", str(w.message)).group(1) for w in caught] == ["1", "4"]
    assert result.measured == 0
    assert result.latency_s == pytest.approx(1e-3)
    assert len(ms.database.JSONDatabase(work_dir=str(tuned))) == 4


def test_records_without_workload_are_dropped(tuned):
    forget_workloads(tuned)
    (tuned / WORKLOADS).write_text("")
    with pytest.warns(WorkDirWarning, match="set 4 broken"):
        result = retune(tuned)
    assert result.measured == 4


def test_truncated_journal_is_no_loss(tuned):
    truncate_last_line(tuned / TRIALS)
    with pytest.warns(WorkDirWarning, match=TRIALS):
        result = retune(tuned)
    assert result.measured == 0
    (tuned / TRIALS).unlink()
    assert retune(tuned).latency_s == pytest.approx(1e-3)


def test_truncated_manifest_is_written_again(tuned):
    (tuned / MANIFEST).write_text('{"target": ')
    assert retune(tuned).measured == 0
    assert json.loads((tuned / MANIFEST).read_text())["target"]["mcpu"] == "haswell"


def test_database_of_another_tvm_is_moved_aside(tuned):
    forget_workloads(tuned)
    line = read_lines(tuned / WORKLOADS)[0].content
    graph = base64.b64decode(line[1])
    foreign = re.sub(rb'"tirx\.PrimFunc"', b'"tir.OldFunc"', graph)
    assert foreign != graph
    line[1] = base64.b64encode(foreign).decode()
    (tuned / WORKLOADS).write_text(json.dumps(line) + "\n")
    manifest = json.loads((tuned / MANIFEST).read_text())
    (tuned / MANIFEST).write_text(json.dumps({**manifest, "tvm": "0.19.0"}))
    old = (tuned / RECORDS).read_text()
    with pytest.warns(WorkDirWarning, match=r"written by TVM 0\.19\.0 .* moved aside as"):
        result = retune(tuned)
    assert result.measured == 4
    (kept,) = tuned.glob(f"{RECORDS}.unreadable-*")
    assert kept.read_text() == old


def test_another_target_is_refused(tuned):
    options = {**quick(Runner()), "target": {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}}
    with pytest.raises(WorkDirError, match=r"haswell.*znver4.*one work_dir for each"):
        tune(gemm(), trials=4, work_dir=tuned, **options)


def hold(path, held, release):
    with open_work_dir(path, normalize_target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})):
        held.set()
        release.wait(60)


def test_two_writers_are_kept_apart_and_the_lock_ends_with_its_owner(tuned):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    owner = context.Process(target=hold, args=(tuned, held, release))
    owner.start()
    try:
        assert held.wait(60)
        with pytest.raises(WorkDirError, match=f"process {owner.pid}"):
            retune(tuned)
    finally:
        owner.kill()
        owner.join()
    assert retune(tuned).measured == 0


def test_unwritable_work_dir(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(WorkDirError, match="expected a work_dir that can be written"):
        retune(file / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_work_dir(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkDirError, match="permission"):
        retune(tmp_path)
