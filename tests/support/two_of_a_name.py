"""A function of two blocks with one name, which rules cannot tell apart."""

from tvm.script import tirx as T

from mschedx import compat

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def two_of_a_name(a: T.Buffer((8,), "float32"), b: T.Buffer((8,), "float32")):
        t = T.sblock_alloc_buffer((8,))
        for i in range(8):
            with T.sblock("t"):
                vi = T.axis.spatial(8, i)
                t[vi] = a[vi] + T.float32(1)
        for i in range(8):
            with T.sblock("t"):
                vi = T.axis.spatial(8, i)
                b[vi] = t[vi] * t[vi]
