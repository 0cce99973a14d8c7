// What the compiler's instrumentation calls before every access of a kernel.
#include "granules.h"

namespace emulator {

namespace {

void look(const void* address, unsigned bytes, bool write, const void* pc) {
  if (machine.preempt_mean != 0 && machine.preempt_left-- == 0) {
    machine.preempt_left = draw() % (2 * machine.preempt_mean);
    pre_empt();
  }
  Thread& thread = *machine.current;
  if (machine.counting)
    thread.log.push_back({uint64_t(pc), uint64_t(address), bytes, write, is_shared(address)});
  if (size_t(address) % bytes != 0) {
    report_misaligned(thread, address, bytes, write, pc);
    give_up();  // a device traps, and so may the host
  }
  access(thread, address, bytes, write, pc);
}

// What lies outside of the device's memory is the thread's own: registers, its stack, constants.
inline bool is_own(const void* address) {
  return size_t(static_cast<const char*>(address) - machine.memory) >= machine.memory_bytes;
}

template <unsigned bytes, bool write>
inline void hook(const void* address, const void* pc) {
  if (is_own(address)) return;
  const size_t offset = size_t(static_cast<const char*>(address) - shared.base);
  const bool is_global = offset >= shared.bytes;
  Region& region = is_global ? global : shared;
  const size_t inside = is_global ? size_t(static_cast<const char*>(address) - global.base) : offset;
  const bool plain = size_t(address) % bytes == 0 && bytes >> granule_log2 != 0;
  if (machine.preempt_mean == 0 && !machine.counting && plain && inside < region.bytes &&
      touch_quietly<bytes, write>(region, is_global, inside, pc))
    return;
  look(address, bytes, write, pc);
}

void hook_range(const void* address, size_t bytes, bool write, const void* pc) {
  // Aggregates of other sizes have no vector instruction: element by element, of 4 bytes at most.
  const size_t together = size_t(address) | bytes;
  const unsigned step = together % 4 == 0 ? 4 : together % 2 == 0 ? 2 : 1;
  if (is_own(address)) return;
  for (size_t i = 0; i < bytes; i += step)
    look(static_cast<const char*>(address) + i, step, write, pc);
}

}  // namespace


extern "C" {
#define EMULATOR_HOOKS(n)                                                                   \
  void __tsan_read##n(void* a) { hook<n, false>(a, __builtin_return_address(0)); }          \
  void __tsan_write##n(void* a) { hook<n, true>(a, __builtin_return_address(0)); }
#define EMULATOR_UNALIGNED(n)                                                                \
  void __tsan_unaligned_read##n(void* a) { hook<n, false>(a, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##n(void* a) { hook<n, true>(a, __builtin_return_address(0)); }
EMULATOR_HOOKS(1)
EMULATOR_HOOKS(2)
EMULATOR_HOOKS(4)
EMULATOR_HOOKS(8)
EMULATOR_HOOKS(16)
EMULATOR_UNALIGNED(2)
EMULATOR_UNALIGNED(4)
EMULATOR_UNALIGNED(8)
EMULATOR_UNALIGNED(16)

void __tsan_read_range(void* a, size_t bytes) {
  hook_range(a, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* a, size_t bytes) {
  hook_range(a, bytes, true, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}

}  // namespace emulator
