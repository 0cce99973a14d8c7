// What is known of every granule of memory, and the accesses that nothing is at fault with.
#pragma once

#include "machine.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// One past access. Its epoch tells whether it is of this launch, and of this block.
struct Past {
  uint32_t epoch, warp_epoch;
  int16_t thread;
  bool pending;
  uint32_t pc;  // from the start of the program's code, see pack()
};

struct Granule {
  Past write;
  Past reads[3];  // by two threads, of two warps where there are; by a block before theirs
};

struct Region {
  char* base;
  size_t bytes;  // of the span in which arrays may lie
  Granule* granules;
  bool* inside;
  size_t tracked;  // granules
};

extern Region shared, global;
extern int granule_log2;
extern uint64_t code_base;

inline uint32_t pack(const void* pc) {
  if (code_base == 0) code_base = uint64_t(pc) - 0x7fffffff;  // libraries lie on both sides
  return uint32_t(uint64_t(pc) - code_base);
}

// Whether a past access is certain to have happened before one of thread now.
inline bool is_before(const Past& past, const Thread& thread, bool is_global) {
  if (is_global) {
    if (past.epoch < machine.launch_start) return true;
    if (past.epoch < machine.block_start) return false;
  } else if (past.epoch < machine.block_start) {
    return true;
  }
  if (past.pending) return false;
  if (past.thread == thread.index || past.epoch < machine.epoch) return true;
  return past.thread / kWarp == thread.warp && past.warp_epoch < machine.warps[thread.warp].epoch;
}

inline void remember_read(Granule& granule, const Past& now) {
  Past& first = granule.reads[0];
  if (first.epoch < machine.block_start) {
    // Blocks have no order: a write is unordered with the reads of every other.
    granule.reads[2] = first;
  } else if (first.thread != now.thread) {
    // Keep one of another warp than the latest, if there is one: a write is then unordered with
    // one of the two whenever it is with any read of the epoch.
    Past& second = granule.reads[1];
    const bool other_warp = first.thread / kWarp != now.thread / kWarp;
    if (other_warp || second.thread / kWarp == now.thread / kWarp || second.epoch < now.epoch)
      second = first;
  }
  first = now;
}

// Do what touch() does for a plain access, if it finds nothing; false where it has to look itself.
template <unsigned bytes, bool write>
inline bool touch_quietly(Region& region, bool is_global, size_t offset, const void* pc) {
  const Thread& thread = *machine.current;
  const Past now{machine.epoch, machine.warps[thread.warp].epoch, int16_t(thread.index), false,
                 pack(pc)};
  // An epoch of this block before this one: ordered, and of shared memory, written.
  const uint32_t start = machine.block_start, passed = machine.epoch - start;
  auto is_settled = [&](const Past& past) {
    return !past.pending && (past.epoch - start < passed ||
                             (past.epoch >= start && past.thread == thread.index) ||
                             (is_global && past.epoch < machine.launch_start));
  };
  const size_t first = offset >> granule_log2, end = first + (bytes >> granule_log2);
  for (size_t i = first; i < end; ++i) {
    Granule& granule = region.granules[i];
    if (!region.inside[i]) return false;
    if (write) {
      if (!is_before(granule.write, thread, is_global)) return false;
      for (const Past& read : granule.reads)
        if (!is_before(read, thread, is_global)) return false;
      granule.write = now;
    } else {
      if (!is_settled(granule.write)) return false;
      remember_read(granule, now);
    }
  }
  return true;
}

}  // namespace emulator

#pragma GCC visibility pop
