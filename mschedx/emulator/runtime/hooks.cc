// What the compiler's instrumentation calls before every access of a kernel.
#include "machine.h"

namespace emulator {

namespace {

// What lies outside of the device's memory is the thread's own: registers, its stack, constants.
inline void hook(const void* address, unsigned bytes, bool write, const void* pc) {
  if (size_t(static_cast<const char*>(address) - machine.memory) >= machine.memory_bytes) return;
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

}  // namespace


extern "C" {
#define EMULATOR_HOOKS(n)                                                                   \
  void __tsan_read##n(void* a) { hook(a, n, false, __builtin_return_address(0)); }          \
  void __tsan_write##n(void* a) { hook(a, n, true, __builtin_return_address(0)); }
#define EMULATOR_UNALIGNED(n)                                                                \
  void __tsan_unaligned_read##n(void* a) { hook(a, n, false, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##n(void* a) { hook(a, n, true, __builtin_return_address(0)); }
EMULATOR_HOOKS(1)
EMULATOR_HOOKS(2)
EMULATOR_HOOKS(4)
EMULATOR_HOOKS(8)
EMULATOR_HOOKS(16)
EMULATOR_UNALIGNED(2)
EMULATOR_UNALIGNED(4)
EMULATOR_UNALIGNED(8)
EMULATOR_UNALIGNED(16)

// Aggregates of other sizes have no vector instruction: element by element, of 4 bytes at most.
void __tsan_read_range(void* a, size_t bytes) {
  const size_t step = (size_t(a) | bytes) % 4 == 0 ? 4 : (size_t(a) | bytes) % 2 == 0 ? 2 : 1;
  for (size_t i = 0; i < bytes; i += step)
    hook(static_cast<char*>(a) + i, unsigned(step), false, __builtin_return_address(0));
}
void __tsan_write_range(void* a, size_t bytes) {
  const size_t step = (size_t(a) | bytes) % 4 == 0 ? 4 : (size_t(a) | bytes) % 2 == 0 ? 2 : 1;
  for (size_t i = 0; i < bytes; i += step)
    hook(static_cast<char*>(a) + i, unsigned(step), true, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}

}  // namespace emulator
