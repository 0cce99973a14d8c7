"""What a device can do: the numbers that spaces, cost models and reports reason with.

A :class:`Hardware` comes from a TVM target (instruction set from ``mcpu`` and ``mattr``, caches
from the operating system when the target is this machine and from a table otherwise, GPU limits
from the target's attributes and a table by tag or architecture). Rates that no table gives for a
CPU are measured by :meth:`Hardware.calibrate`; cost models take typical ones unless they are
handed what it returns (``PSA(Hardware.calibrate())``). Of a device that is in no table
:func:`stand_in` says whose figures are taken; :mod:`~mschedx.hardware.here` says whether this
machine runs what is compiled for a CPU.
"""

from .device import KIB, MIB, Hardware
from .here import lacking_here, notes_on_machine, other_architecture
from .host import host_cores, host_target, kernel_cores, system_cpu
from .tables import GPUS
from .targets import is_known_gpu, stand_in

__all__ = [
    "GPUS",
    "KIB",
    "MIB",
    "Hardware",
    "host_cores",
    "host_target",
    "is_known_gpu",
    "kernel_cores",
    "lacking_here",
    "notes_on_machine",
    "other_architecture",
    "stand_in",
    "system_cpu",
]
