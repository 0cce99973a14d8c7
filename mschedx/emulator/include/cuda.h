// Stands in for CUDA's header; emulator.h has what kernels need of it.
