import builtins

import pytest

from mschedx.report.charts import Bars, Chart, Figure
from mschedx.report.png import write_pngs


def figures():
    chart = Chart((0, 10), (1, 100), "trial", "ms", "t", log_y=True)
    chart.points([1, 2], [3, 4])
    chart.steps([1, 5], [50, 20])
    chart.band([1, 5], [2, 3], [4, 5], "#123456")
    chart.marks([3])
    chart.text(5, 5, "here")
    chart.key("a trial", "#123456")
    return [
        Figure("curve", "Curve", "", chart),
        Figure("none", "Nothing to draw", "", None),
        Figure("bars", "Bars", "", Bars([("a", 2.0, "x"), ("b", 0.0, "y")], "t")),
    ]


def test_every_chart_becomes_a_file(tmp_path):
    paths = write_pngs(figures(), tmp_path / "new", "report")
    assert [path.name for path in paths] == ["report-curve.png", "report-bars.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_without_matplotlib_it_says_how_to_install_it(tmp_path, monkeypatch):
    found = builtins.__import__

    def refuse(name, *args, **options):
        if name.split(".")[0] == "matplotlib":
            raise ImportError("no module")
        return found(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"mschedx\[report\]"):
        write_pngs(figures(), tmp_path, "report")
