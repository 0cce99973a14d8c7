"""Texts compared with files."""

from pathlib import Path

import pytest


@pytest.fixture
def golden(request):
    """Compare a text with a file of this folder, or write it with ``--update-golden``."""

    def compare(name, text):
        path = Path(__file__).parent / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.exists(), f"no {name} yet: write it with pytest tests/golden --update-golden"
        assert text == path.read_text(), f"{name} changed: if it should, --update-golden"

    return compare
