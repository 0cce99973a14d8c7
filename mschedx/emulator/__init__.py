"""Execute the CUDA that schedules become, without a GPU."""

from .build import CompilationError
from .execute import Execution, ExecutionOptions, execute
from .report import Counts, Fault, Kind
from .translate import UnsupportedSource

__all__ = [
    "CompilationError",
    "Counts",
    "Execution",
    "ExecutionOptions",
    "Fault",
    "Kind",
    "UnsupportedSource",
    "execute",
]
