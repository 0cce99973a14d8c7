"""Execute the CUDA that schedules become, without a GPU."""

from .build import CompilationError
from .execute import Execution, Options, execute
from .report import Counts, Fault, Kind
from .translate import UnsupportedSource

__all__ = [
    "CompilationError",
    "Counts",
    "Execution",
    "Fault",
    "Kind",
    "Options",
    "UnsupportedSource",
    "execute",
]
