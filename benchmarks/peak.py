"""What this machine can do: fp32 FLOP/s and bytes read from memory, all cores.

python benchmarks/peak.py
"""

from mschedx.hardware import host_target
from mschedx.hardware.peak import calibrate


def main() -> None:
    hardware = calibrate(host_target())
    print(f"{hardware.name}, {hardware.cores} cores, {hardware.vector_bytes * 8}-bit vectors")
    print(f"peak    {hardware.peak_flops / 1e9:8.1f} GFLOP/s fp32")
    print(f"memory  {hardware.dram_bytes_per_s / 1e9:8.1f} GB/s read")
    cycles = 2 * hardware.lanes("float32") * hardware.fma_ports * hardware.cores
    print(f"clock   {hardware.peak_flops / cycles / 1e9:8.2f} GHz while multiplying")


if __name__ == "__main__":
    main()
