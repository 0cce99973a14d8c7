"""Which arguments a program updates: it takes them as they were given, and writes them.

They are others with every call: ``x[i] = x[i] * 0.9`` ends in denormals, which take many times
longer, and ``at[0] = at[0] + 1`` beside ``cache[at[0], j] = k[j]`` behind the cache. An output that
is initialised before it is added to is not one of them.
"""

from __future__ import annotations

from typing import Any

_INSIDE = ("init", "block", "body", "seq", "then_case", "else_case")
"""What statements hold of others, in the order in which these run."""

_READ = ("condition", "predicate", "min", "extent", "value", "iter_values", "indices")
"""What they hold of expressions."""


def updated_arguments(function: Any) -> tuple[int, ...]:
    """Read off a PrimFunc, scheduled or not, which parameters it reads first and writes later.

    Returns
    -------
    tuple of int
        Their positions, in order.
    """
    reading = _Reading()
    reading.statement(function.body)
    return tuple(
        place
        for place, param in enumerate(function.params)
        if param.__chandle__() in reading.taken & reading.written
    )


class _Reading:
    """Buffers by their handles.

    Attributes
    ----------
    taken : set of int
        Those that were read before anything was written into them.
    written : set of int
    """

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.written: set[int] = set()
        self._parts_of: dict[int, int] = {}

    def statement(self, node: Any) -> None:
        for match in getattr(node, "match_buffers", None) or ():
            whole = self._whole(match.source.source)
            self._parts_of[match.buffer.__chandle__()] = whole
        for name in _READ:
            found = getattr(node, name, None)
            if found is not None:
                for one in found if name in ("iter_values", "indices") else [found]:
                    self._expression(one)
        if type(node).__name__ == "BufferStore":
            self.written.add(self._whole(node.buffer))
            return
        for name in _INSIDE:
            child = getattr(node, name, None)
            if child is not None:
                for one in child if name == "seq" else [child]:
                    self.statement(one)

    def _expression(self, node: Any) -> None:
        import tvm_ffi
        from tvm.ir import Call, TensorLoad

        if isinstance(node, (bool, int, float, str)):
            return

        def address(call: Any) -> Any:
            # A place, which is no reading of what is there.
            is_place = str(getattr(call.op, "name", "")).endswith("address_of")
            return tvm_ffi.WalkResult.SKIP if is_place else None

        def load(found: Any) -> None:
            whole = self._whole(found.source)
            if whole not in self.written:
                self.taken.add(whole)

        tvm_ffi.structural_walk(node, ((Call, address), (TensorLoad, load)), order="pre")

    def _whole(self, buffer: Any) -> int:
        handle = int(buffer.__chandle__())
        return self._parts_of.get(handle, handle)
