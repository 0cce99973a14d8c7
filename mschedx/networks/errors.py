"""What can be wrong with a network before anything is tuned."""

from __future__ import annotations

from collections.abc import Sequence

from mschedx.error_text import first_line


class NetworkError(ValueError):
    """A network that cannot be imported or tuned as it is; the message says what to do."""


class DynamicShape(NetworkError):
    """An input with a dimension that is not known.

    Attributes
    ----------
    dimensions : tuple of str
        ``"input[axis] = symbol"`` each.
    """

    def __init__(self, dimensions: Sequence[str]) -> None:
        self.dimensions = tuple(dimensions)
        super().__init__(
            "expected a network whose shapes are constant, got the dynamic dimensions "
            f"{', '.join(dimensions)}; pass fix_shapes=True to take the sizes of example_inputs, "
            "or tune for several sizes with mschedx.tune_buckets"
        )


class UnsupportedOperators(NetworkError):
    """Operators that TVM's importer does not know.

    Parameters
    ----------
    operators : sequence of str
        All of them.
    why : str
        The importer's reason where it names none.
    instead : str
        What to do, where torch cannot run them.

    Attributes
    ----------
    operators : tuple of str
    reason : str
        The message without what to do.
    """

    def __init__(self, operators: Sequence[str], why: str = "", instead: str = "") -> None:
        self.operators = tuple(operators)
        listed = ", ".join(operators) or "(not named)"
        instead = instead or (
            "leave them to torch: mschedx.tune_parts and torch.compile(model, backend='mschedx') "
            "tune the parts of the network around them"
        )
        self.reason = f"TVM cannot import the operators {listed} of this network"
        if why:
            self.reason += f" ({why})"
        super().__init__(f"{self.reason}; write them with others, or {instead}")


def reason_of(error: Exception) -> str:
    """Why something was given up, on one line; of unknown operators, without what to do."""
    if isinstance(error, UnsupportedOperators):
        return error.reason
    return f"{type(error).__name__}: {first_line(error)[:500]}"
