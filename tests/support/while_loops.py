"""A block whose number of steps hangs on its data: no expression says how often it runs."""

from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def halvings(a: T.Buffer((64,), "int32"), c: T.Buffer((64,), "int32")):
    T.func_attr({"global_symbol": "main"})
    for i in range(64):
        with T.sblock("C"):
            vi = T.axis.spatial(64, i)
            T.reads(a[vi])
            T.writes(c[vi])
            c[vi] = a[vi]
            while c[vi] > 1:
                c[vi] = c[vi] // 2
