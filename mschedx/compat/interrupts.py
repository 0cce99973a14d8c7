"""Ctrl-C in Python that TVM calls."""

from __future__ import annotations


def pass_interrupts() -> None:
    """Let KeyboardInterrupt come out of TVM as itself, in this process from now on.

    What a postprocessor, a rule or another callback raises passes through C++ by the name of its
    class. TVM's bindings know none for KeyboardInterrupt and make a RuntimeError without a text of
    it, which ``except Exception`` around a call of TVM takes for a failure of what was called.
    """
    import tvm_ffi

    tvm_ffi.register_error("KeyboardInterrupt", KeyboardInterrupt)
