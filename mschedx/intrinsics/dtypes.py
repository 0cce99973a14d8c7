"""Types of elements as names of intrinsics spell them."""

SHORT = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "int32": "s32",
    "int8": "s8",
    "uint8": "u8",
}
