"""The page and the figures of a comparison."""

from html import escape

from comparisons import run

from mschedx import cli
from mschedx.bench.compare import tables
from mschedx.bench.compare.page import build_page, figures
from mschedx.bench.compare.present import read_comparison
from mschedx.bench.compare.tables import all_tables
from mschedx.bench.compare.tuners import find_tuners


def test_page_and_tables_come_from_the_folder_alone(tmp_path, timed, capsys):
    run(tmp_path)
    assert cli.main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3, "a curve for each workload, bars for heron"
    assert "2.00×" in page
    assert "curve-softmax" not in capsys.readouterr().out, "PNGs only on request"


def test_the_page_has_all_tables_in_their_order(tmp_path, timed):
    run(tmp_path)
    compared = read_comparison(tmp_path)
    page = build_page(compared)
    titles = [escape(str(table.title)) for table in all_tables(compared)]
    places = [page.find(title) for title in titles]
    assert -1 not in places
    assert places == sorted(places)


def test_a_tuner_has_one_color_in_all_figures(tmp_path, timed):
    made, results, final = run(tmp_path, tuners=find_tuners("tvm,random,heron"))
    compared = tables.ComparisonResult(results, final, made.names, "tvm")
    curve, *_, random, heron = figures(compared)
    assert (random.name, heron.name) == ("speedup-random", "speedup-heron")
    colors = dict(curve.chart.keys)
    assert len(set(colors.values())) == 3
    assert (random.chart.color, heron.chart.color) == (colors["random"], colors["heron"])
