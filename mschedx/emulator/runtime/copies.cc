// Asynchronous copies: bytes land when the thread's wait makes them, not before.
#include <string.h>

#include <algorithm>

#include "machine.h"

namespace emulator {

namespace {

void land(Thread& thread, const Copy& copy) {
  access(thread, copy.target, unsigned(copy.bytes), true, copy.pc, Way::land);
  memcpy(copy.target, copy.source, size_t(copy.from_source));
  memset(copy.target + copy.from_source, 0, size_t(copy.bytes - copy.from_source));
}

}  // namespace

void copy_async(void* target, const void* source, int bytes, int from_source) {
  Thread& thread = *machine.current;
  const void* pc = __builtin_return_address(0);
  count_instruction("cp.async");
  const auto size = static_cast<unsigned>(bytes);
  if (size_t(target) % size != 0 || size_t(source) % size != 0)
    report_misaligned(thread, target, size, true, pc);
  if (from_source > 0) {
    if (machine.counting)
      thread.log.push_back({uint64_t(pc), uint64_t(source), size, false, false});
    access(thread, source, unsigned(from_source), false, pc);
  }
  if (machine.counting)
    thread.log.push_back({uint64_t(pc) + 1, uint64_t(target), size, true, true});
  access(thread, target, size, true, pc, Way::issue);
  thread.copies.push_back({static_cast<char*>(target), static_cast<const char*>(source), bytes,
                           from_source, thread.open_group, pc});
}

void commit_copies() { ++machine.current->open_group; }

void wait_copies(int groups_left) {
  count_instruction("cp.async.wait");
  land_copies(*machine.current, static_cast<uint32_t>(groups_left));
}

void land_copies(Thread& thread, uint32_t groups_left) {
  // Committed groups but the last ones; copies after the last commit belong to none.
  auto due = [&](const Copy& copy) { return copy.group + groups_left < thread.open_group; };
  for (const Copy& copy : thread.copies)
    if (due(copy)) land(thread, copy);
  thread.copies.erase(std::remove_if(thread.copies.begin(), thread.copies.end(), due),
                      thread.copies.end());
}

void land_all_copies(Thread& thread) {
  for (const Copy& copy : thread.copies) land(thread, copy);
  thread.copies.clear();
}

}  // namespace emulator
