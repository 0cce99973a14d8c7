"""What the numbers of a configuration may be: checked by the names of its fields when it is made.

All raise ValueError, with the field, what it may be, and what it is.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


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
        value = getattr(config, name)
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or int(value) < least:
            why = "" if is_whole else ": it is a whole number"
            raise _refused(config, name, f">= {least}", value, why)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refused(config: Any, name: str, expected: str, value: Any, why: str = "") -> ValueError:
    kind = type(config).__name__
    return ValueError(f"expected {kind}.{name} {expected}, got {value!r}{why}")
