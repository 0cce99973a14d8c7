"""What numbers of users may be, alone or as the fields of a configuration when it is made.

All raise ValueError, with the name, what it may be, and what it is. NumPy's numbers count as
Python's; bool is no number.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, by its type."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_count(name: str, value: Any, *, least: int = 1) -> int:
    """Refuse what is no whole number of at least so much; return it as Python's own."""
    if not is_whole(value) or int(value) < least:
        raise ValueError(_said(name, f">= {least}", value, whole=True))
    return int(value)


def require_counts(config: Any, *names: str, least: int = 1, optional: bool = False) -> None:
    """Refuse fields that are no integers of at least so much.

    Parameters
    ----------
    config : dataclass instance
    *names : str
        Of its fields.
    least : int
    optional : bool
        Whether None passes.
    """
    for name in names:
        if optional and getattr(config, name) is None:
            continue
        require_count(_field(config, name), getattr(config, name), least=least)


def require_positive(config: Any, *names: str) -> None:
    """Refuse fields that are no numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if not (_is_number(value) and value > 0):
            raise _refused(config, name, "> 0", value)


def require_no_negative(config: Any, *names: str) -> None:
    """Refuse fields that are no numbers of at least 0."""
    for name in names:
        value = getattr(config, name)
        if not (_is_number(value) and value >= 0):
            raise _refused(config, name, ">= 0", value)


def require_shares(config: Any, *names: str, zero: bool = True, one: bool = True) -> None:
    """Refuse fields that are no numbers from 0 to 1; the ends are allowed as `zero` and `one` say.

    Parameters
    ----------
    config : dataclass instance
    *names : str
        Of its fields.
    zero, one : bool
    """
    interval = f"in {'[' if zero else '('}0, 1{']' if one else ')'}"
    for name in names:
        value = getattr(config, name)
        inside = _is_number(value) and 0 <= value <= 1
        if not inside or (value == 0 and not zero) or (value == 1 and not one):
            raise _refused(config, name, interval, value)


def check_seconds(name: str, seconds: float | None) -> None:
    """Check a limit of time, seconds; None for none."""
    if seconds is None:
        return
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(
            f"expected {name} as seconds above 0, or None for no limit; got {seconds!r}"
        )


def check_seed(seed: int) -> int:
    """Check the seed of a run: TVM's generator wraps around beyond 31 bits."""
    if not is_whole(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"expected seed as an int from 0 to 2**31 - 1, got {seed!r}")
    return int(seed)


def check_trials(trials: int, name: str = "trials") -> int:
    """Check a number of measurements."""
    if not is_whole(trials) or trials < 1:
        raise ValueError(f"expected {name} as an int of at least 1, got {trials!r}")
    return int(trials)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _field(config: Any, name: str) -> str:
    return f"{type(config).__name__}.{name}"


def _refused(config: Any, name: str, expected: str, value: Any) -> ValueError:
    return ValueError(_said(_field(config, name), expected, value))


def _said(name: str, expected: str, value: Any, *, whole: bool = False) -> str:
    why = ": it is a whole number" if whole and not is_whole(value) else ""
    return f"expected {name} {expected}, got {value!r}{why}"
