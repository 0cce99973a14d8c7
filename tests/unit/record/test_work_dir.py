import base64
import errno
import json
import multiprocessing
import os
import re
import tempfile
import warnings

import pytest
import tiny_networks
from stand_ins import Runner, gemm, quick
from tiny_networks import two
from tvm.s_tir import meta_schedule as ms

from mschedx import measure
from mschedx.inputs import normalize_target
from mschedx.measure.verification import VerifyResult
from mschedx.networks import tune_model
from mschedx.record.contents import RECORDS, TRIALS, WORKLOADS
from mschedx.record.errors import WorkDirInUse
from mschedx.record.lines import read_lines
from mschedx.record.lock import locked
from mschedx.record.reading import open_to_read
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


def only_opened(opening, path):
    with opening(path, normalize_target(quick(None)["target"])):
        pass


@pytest.mark.parametrize(
    "call",
    [
        retune,
        lambda path: retune(path, trials=0),
        lambda path: only_opened(open_work_dir, path),
        lambda path: only_opened(open_to_read, path),
    ],
    ids=["tune", "tune without trials", "open_work_dir", "open_to_read"],
)
def test_a_warning_points_at_the_line_that_opens_the_folder(tuned, call):
    truncate_last_line(tuned / RECORDS)
    with pytest.warns(WorkDirWarning, match="set 1 broken line") as said:
        call(tuned)
    assert [one.filename for one in said] == [__file__]


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


@pytest.fixture
def in_use(tuned):
    """A folder that another process tunes into."""
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    owner = context.Process(target=hold, args=(tuned, held, release))
    owner.start()
    assert held.wait(60)
    yield tuned
    release.set()
    owner.join()


@pytest.fixture
def read_only(tuned, monkeypatch):
    """A folder on a file system that is mounted for reading; root writes anywhere else."""
    real = tempfile.TemporaryFile

    def refuse(*args, **options):
        if options.get("dir") == tuned:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(*args, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    return tuned


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


@pytest.mark.parametrize(
    ("state", "why"),
    [("in_use", "is being tuned into by process"), ("read_only", "Read-only file system")],
)
def test_records_are_read_where_nothing_can_be_written(request, monkeypatch, state, why):
    folder = request.getfixturevalue(state)
    with (folder / RECORDS).open("a") as records:
        records.write("[0, [[[], []], [1e")  # it is being written
    right = VerifyResult(ok=True, checked=True, ran=True, max_error=0.0, tolerance=1.0, reason="")
    monkeypatch.setattr(measure, "verify", lambda *_, **__: right)
    before = files(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WorkDirWarning)
        result = tune(gemm(), trials=0, work_dir=folder, **quick(Runner(), verify=True))
    assert result.latency_s == pytest.approx(1e-3)
    assert result.verified
    assert len(result.history) == 4
    assert result.work_dir == folder
    assert any(re.search(f"the work_dir is read as it is: .*{why}", one) for one in result.notes)
    assert files(folder) == before
    with pytest.raises(WorkDirError, match=why):
        retune(folder, trials=8)


def test_a_network_is_made_of_records_in_a_folder_that_is_in_use(tmp_path):
    (model, inputs), options = two(), tiny_networks.quick(verify=False)
    first = tune_model(model, inputs, trials_per_task=2, work_dir=tmp_path, **options)
    with locked(tmp_path, "tuned into", "wait for it"):
        before = files(tmp_path)
        again = tune_model(model, inputs, trials_per_task=0, work_dir=tmp_path, **options)
        assert files(tmp_path) == before
    assert again.latency_s == first.latency_s
    assert again.work_dir == tmp_path
    assert not again.untuned


def test_a_folder_without_records_that_cannot_be_written_is_refused(tmp_path):
    model, inputs = two()
    with locked(tmp_path, "tuned into", "wait for it"), pytest.raises(WorkDirInUse, match="tuned"):
        tune_model(model, inputs, trials_per_task=0, work_dir=tmp_path, **tiny_networks.quick())


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
