"""What lowering calls what a schedule allocates."""

from mschedx.space.analysis.read.lowered import shape_of


def test_a_buffer_is_found_however_its_name_is_spelt():
    shapes = {"A_shared_dyn": (4, 8), "B": (), "C.local": (2,)}
    assert shape_of(shapes, "A_shared.dyn") == (4, 8)
    assert shape_of(shapes, "C.local") == (2,)
    assert shape_of(shapes, "B") == ()
    assert shape_of(shapes, "D") is None
