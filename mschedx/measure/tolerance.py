r"""Decide whether two arrays are the same result, computed in different orders.

Integers must be equal, unless computed floats had a part in them (below). For floats the bound
follows the error of recursive summation. Adding K terms of independent random size in a format of
unit roundoff u leaves, by Wilkinson's analysis with rounding errors of random sign, an error near
:math:`u \sqrt{K}` times the size of the sum (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed., section 2.8); two orders of the same sum differ by the errors of both. Summed
over the program's reductions r, and with a share for everything that is not a reduction (casts,
transcendental functions):

.. math:: |x - y| \le \Bigl(4 \sum_r \epsilon_r \sqrt{K_r} + 8 \max \epsilon\Bigr)
          \max_{\text{finite}} |y|

where :math:`\epsilon` is the format's machine epsilon (twice u), :math:`K_r` the number of terms,
and the maximum at least the format's smallest normal number: below it the steps between numbers are
no smaller than there, and a product of many terms is off by several of them.
Wide accumulators count with their own :math:`\epsilon`. In formats of few bits the bound is loose:
with K = 1024 terms in fp16 it exceeds one term, so a kernel that drops a term is found out by the
neighbouring integer or fp32 workload only.

Where rounding errors have one sign, as in a sum of millions of positive terms, the unscheduled
program is off by more than that. Its sum is then taken in blocks instead
(:func:`mschedx.measure.reference.blocked`), and what it is off is allowed on top.

A whole number that such a float was rounded to differs by 1 where the float was within its error e
of a boundary. Where fractions are spread evenly that is a share 2e of all; so many, and four times
the root of their number for chance, are allowed. Where more differ by 1 it is not shown which is
right, since fractions may lie at the boundaries; a difference beyond 1 and e is wrong. Places and
counts that floats decide by comparison are right where they agree; where they do not, nothing is
shown (:mod:`mschedx.measure.provenance`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .provenance import Provenance

_REDUCTION_FACTOR = 4.0
_OTHER_FACTOR = 8.0


@dataclass(frozen=True)
class Precision:
    """What a program's rounding errors depend on.

    Attributes
    ----------
    reductions : tuple of (str, int)
        Accumulator dtype and number of terms of every reduction block.
    dtypes : tuple of str
        Dtype of every buffer that is written.
    multiplies : bool
        Whether a reduction is a product, of which numbers below 1 leave nothing.
    """

    reductions: tuple[tuple[str, int], ...]
    dtypes: tuple[str, ...]
    multiplies: bool = False

    def relative_tolerance(self) -> float:
        """Largest allowed difference over the largest magnitude of the result."""
        reductions = sum(epsilon(dtype) * math.sqrt(terms) for dtype, terms in self.reductions)
        others = max((epsilon(dtype) for dtype in self.dtypes), default=0.0)
        return _REDUCTION_FACTOR * reductions + _OTHER_FACTOR * others


def epsilon(dtype: str) -> float:
    """Machine epsilon of a float `dtype`; 0 for integers and bool."""
    if dtype.startswith("float8") or dtype.startswith("bfloat16"):
        import ml_dtypes

        return float(ml_dtypes.finfo(dtype).eps)
    if dtype.startswith("float"):
        return float(np.finfo(dtype).eps)
    return 0.0


def _smallest_normal(dtype: np.dtype) -> float:
    if dtype in (np.float16, np.float32, np.float64):
        return float(np.finfo(dtype).smallest_normal)
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).smallest_normal)


@dataclass(frozen=True)
class Difference:
    """How two arrays differ.

    Attributes
    ----------
    max_error : float
        Largest absolute difference over the elements that are finite in the expected array.
    tolerance : float
        Largest absolute difference allowed.
    reason : str
        Empty if they agree.
    shown : bool
        Whether the reason shows that one is wrong. False where rounding alone may have decided
        what differs, and where too little is finite to say that they agree.
    """

    max_error: float
    tolerance: float
    reason: str
    shown: bool = True


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference of two float arrays where both are finite; 0 for integers."""
    if expected.dtype.kind in "iub":
        return 0.0
    x, y = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    return float(np.max(np.abs(x[finite] - y[finite]), initial=0.0))


def compare(
    found: np.ndarray,
    expected: np.ndarray,
    relative_tolerance: float,
    allowance: float = 0.0,
    provenance: Provenance = Provenance.EXACT,
    *,
    multiplies: bool = False,
    passes_nan: bool = False,
) -> Difference:
    """Compare two arrays of one shape and dtype; see the module for the rule.

    NaN must meet NaN, and an infinity the same infinity. Where less than half is finite, equal
    arrays show nothing; nor do products of which all are below the smallest normal number.

    Parameters
    ----------
    found, expected : numpy.ndarray
    relative_tolerance : float
        Error that floats may have over the largest of `expected`.
    allowance : float
        Absolute error that floats may have on top.
    provenance : Provenance
        How far the values follow what floats were rounded to.
    multiplies : bool
        As `Precision.multiplies`.
    passes_nan : bool
        Whether what gave `found` may go on with a number where `expected` has NaN, as maxima of TVM
        do. A number for NaN then shows nothing.
    """
    if expected.dtype.kind not in "iub":
        difference = _compared_floats(found, expected, relative_tolerance, allowance, passes_nan)
        if multiplies and not difference.reason and _vanishes(expected):
            why = "all results are 0 or below the smallest normal number for the inputs tried"
            return replace(difference, reason=why, shown=False)
    elif provenance is Provenance.ROUNDED:
        return _compared_rounded(found, expected, relative_tolerance)
    else:
        difference = _compared_integers(found, expected)
    if difference.reason and provenance > Provenance.COMPUTED:
        why = f"not compared, since rounding may have decided them: {difference.reason}"
        return replace(difference, reason=why, shown=False)
    return difference


def _compared_integers(found: np.ndarray, expected: np.ndarray) -> Difference:
    wrong = int(np.count_nonzero(found != expected))
    if not wrong:
        return Difference(0.0, 0.0, "")
    error = float(np.max(_distances(found, expected)))
    return Difference(error, 0.0, f"{wrong} of {expected.size} integers differ, by up to {error:g}")


def _compared_rounded(found: np.ndarray, expected: np.ndarray, relative: float) -> Difference:
    """Compare whole numbers that floats of their size, off by `relative`, were rounded to."""
    distances = _distances(found, expected)
    largest = float(np.max(distances, initial=0.0))
    error = relative * float(np.max(np.abs(expected.astype(np.float64)), initial=0.0))
    most = 1.0 + math.floor(error)
    what = f"of {expected.size} integers that floats were rounded to differ"
    beyond = int(np.count_nonzero(distances > most))
    if beyond:
        why = f"{beyond} {what} by more than {most:g}, up to {largest:g}"
        return Difference(largest, most, why)
    differing = int(np.count_nonzero(distances))
    explained = min(2 * error, 1.0) * expected.size
    if differing > explained + 4 * math.sqrt(explained):
        why = (
            f"{differing} {what} by no more than {most:g}, where rounding explains "
            f"{explained:.3g} if fractions are spread evenly"
        )
        return Difference(largest, most, why, shown=False)
    return Difference(largest, most, "")


def _vanishes(expected: np.ndarray) -> bool:
    largest = np.max(np.abs(expected.astype(np.float64)), initial=0.0)
    return bool(expected.size and largest < _smallest_normal(expected.dtype))


def _distances(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How far integers are from one another, as float64."""
    return np.abs(found.astype(np.float64) - expected.astype(np.float64))


def _compared_floats(
    found: np.ndarray,
    expected: np.ndarray,
    relative_tolerance: float,
    allowance: float,
    passes_nan: bool,
) -> Difference:
    x, y = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(y)
    scale = float(np.max(np.abs(y[finite]), initial=_smallest_normal(expected.dtype)))
    tolerance = relative_tolerance * scale + allowance
    special = ~finite & ~((np.isnan(x) & np.isnan(y)) | (x == y))
    passed = special & np.isnan(y) if passes_nan else np.zeros_like(special)
    if (special & ~passed).any():
        return Difference(
            math.inf, tolerance, f"{int(special.sum())} of {y.size} NaN or infinite values differ"
        )
    error = np.abs(x[finite] - y[finite])
    largest = float(np.max(error, initial=0.0))
    if not largest <= tolerance:  # also when it is NaN
        wrong = int(np.count_nonzero(~(error <= tolerance)))
        return Difference(
            largest,
            tolerance,
            f"{wrong} of {y.size} values differ by more than {tolerance:.3g}, up to {largest:.3g}",
        )
    if passed.any():
        numbers = f"{int(passed.sum())} of {y.size} values are numbers where NaN is expected"
        why = f"{numbers} for the inputs tried; maxima and minima of TVM pass NaN over"
        return Difference(largest, tolerance, why, shown=False)
    useless = y.size - int(np.count_nonzero(finite))
    if 2 * useless > y.size:
        why = f"{useless} of {y.size} values are NaN or infinite for the inputs tried"
        return Difference(largest, tolerance, why, shown=False)
    return Difference(largest, tolerance, "")
