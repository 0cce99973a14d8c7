import io

from rich.console import Console

from mschedx.bench.pretrain_metrics import Ranking
from mschedx.bench.pretrain_table import metrics_table


def test_every_number_has_its_column():
    numbers = [f"0.{k}{k}{k}" for k in range(1, 8)]
    pairs, *rest = map(float, numbers)
    one = Ranking("matmul", 96, pairs, 0.25, tuple(rest[:2]), tuple(rest[2:4]), tuple(rest[4:]))
    console = Console(file=io.StringIO(), width=200)
    console.print(metrics_table([one, one]))
    head, *rows = [line for line in console.file.getvalue().splitlines() if "t" in line][1:]
    top, draft = ("top-1", "top-5"), ("best-1 of a quarter", "best-5 of a quarter")
    names = ["pairs", *top, *(f"{name} by time" for name in top), *draft]
    shown = [cell.strip() for cell in head.replace("┃", "│").split("│")]
    (row, _) = ([cell.strip() for cell in row.split("│")] for row in rows)
    assert [row[shown.index(name)] for name in names] == numbers
