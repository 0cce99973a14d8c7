"""What tables are printed with."""

import os

import pytest

from mschedx.bench.console import table_console


def test_a_reader_that_has_gone_is_no_end_of_the_process():
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError), os.fdopen(write, "w") as file:
        table_console(80, file=file).print("a table")
