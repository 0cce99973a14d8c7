// Memory of the device, and what is known of every granule of it.
//
// The arrays lie in the middle of a reservation so large that no 32-bit index leads out of it, and
// between granules that belong to none.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "granules.h"

namespace emulator {

Region shared, global;
int granule_log2;
uint64_t code_base;

namespace {

constexpr size_t kMargin = size_t(32) << 30;
constexpr size_t kGap = 4096;  // between arrays; accesses there are reported, and harmless
constexpr int kMaxArrays = 64;

struct Array {
  size_t offset, bytes;  // in the global region
};

Array arrays[kMaxArrays];
int array_count;
bool finer;

struct SharedArray {
  const char* name;
  size_t offset, bytes;
};
SharedArray shared_arrays[32];
int shared_count;
size_t shared_used;

void track(Region& region, size_t bytes) {
  const size_t granules = (bytes >> granule_log2) + 1;
  if (granules > region.tracked) {
    free(region.granules), free(region.inside);
    region.granules = static_cast<Granule*>(calloc(granules, sizeof(Granule)));
    region.inside = static_cast<bool*>(calloc(granules, 1));
    region.tracked = granules;
  } else {
    memset(region.inside, 0, granules);
  }
  region.bytes = bytes;
}

void mark_inside(Region& region, size_t offset, size_t bytes) {
  memset(region.inside + (offset >> granule_log2), 1, bytes >> granule_log2);
}

Fault fault_at(Kind kind, const Region* region, size_t offset, unsigned bytes, bool write,
               const Thread& thread, const void* pc) {
  Fault fault{};
  fault.kind = kind, fault.bytes = int(bytes), fault.write = write;
  fault.thread = thread.index, fault.block = machine.block_number, fault.pc = uint64_t(pc);
  fault.array = kShared, fault.offset = int64_t(offset);
  if (region == &global) {
    int nearest = 0;
    for (int i = 1; i < array_count; ++i)
      if (offset + kGap / 2 >= arrays[i].offset) nearest = i;
    fault.array = nearest, fault.offset = int64_t(offset) - int64_t(arrays[nearest].offset);
  }
  return fault;
}

void report_race(Fault fault, const Past& past, bool other_write) {
  fault.kind = Kind::race;
  fault.other_thread = past.thread, fault.other_write = other_write;
  fault.asynchronous = past.pending, fault.other_pc = code_base + past.pc;
  report(fault);
}

void touch(Region& region, size_t offset, unsigned bytes, bool write, const Thread& thread,
           const void* pc, Way way) {
  const bool is_global = &region == &global;
  const Past now{machine.epoch, machine.warps[thread.warp].epoch, int16_t(thread.index),
                 way == Way::issue, pack(pc)};
  const size_t first = offset >> granule_log2, last = (offset + bytes - 1) >> granule_log2;
  bool outside = false, raced = false, unwritten = false;
  for (size_t i = first; i <= last; ++i) {
    if (!region.inside[i]) {
      outside = true;
      continue;
    }
    Granule& granule = region.granules[i];
    if (way == Way::land) {
      granule.write = now;
      continue;
    }
    if (!raced && !is_before(granule.write, thread, is_global)) {
      raced = true;
      report_race(fault_at(Kind::race, &region, offset, bytes, write, thread, pc), granule.write,
                  true);
    }
    if (write) {
      for (const Past& read : granule.reads) {
        if (raced || is_before(read, thread, is_global)) continue;
        raced = true;
        report_race(fault_at(Kind::race, &region, offset, bytes, write, thread, pc), read, false);
      }
      granule.write = now;
    } else {
      unwritten |= !is_global && granule.write.epoch < machine.block_start;
      remember_read(granule, now);
    }
  }
  if (outside)
    report(fault_at(Kind::out_of_bounds, &region, offset, bytes, write, thread, pc));
  else if (unwritten)
    report(fault_at(Kind::uninitialised, &region, offset, bytes, write, thread, pc));
}

}  // namespace

void reserve_memory() {
  if (machine.memory != nullptr) return;
  for (size_t margin = kMargin; machine.memory == nullptr && margin >= kMargin >> 8; margin /= 2) {
    void* memory = mmap(nullptr, 2 * margin + kMargin / 8, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) continue;
    machine.memory = static_cast<char*>(memory);
    machine.memory_bytes = 2 * margin + kMargin / 8;
    shared.base = machine.memory + margin;
  }
  if (machine.memory == nullptr) abort();
  mprotect(shared.base - kGap, kMaxShared + 2 * kGap, PROT_READ | PROT_WRITE);
  global.base = shared.base + 2 * kMaxShared;
}

// Give every argument an array; false where they do not fit.
bool lay_out_arrays(int count, const size_t* bytes, int log2, void** addresses) {
  if (count > kMaxArrays) return false;
  granule_log2 = log2, finer = false, code_base = 0;
  size_t used = kGap;
  array_count = count;
  for (int i = 0; i < count; ++i) {
    arrays[i] = {used, bytes[i]};
    addresses[i] = global.base + used;
    used += (bytes[i] + kGap - 1) / kGap * kGap + kGap;
  }
  if (used > kMargin / 16) return false;
  if (mprotect(global.base, used, PROT_READ | PROT_WRITE) != 0) return false;
  track(global, used);
  for (int i = 0; i < count; ++i) mark_inside(global, arrays[i].offset, arrays[i].bytes);
  track(shared, kMaxShared);
  shared_count = 0, shared_used = 0;
  return true;
}

void start_block_memory() { memset(shared.base, 0xff, shared_used); }

bool needs_finer_granules() { return finer; }

bool is_shared(const void* address) {
  return size_t(static_cast<const char*>(address) - shared.base) < kMaxShared;
}

void access(const Thread& thread, const void* address, unsigned bytes, bool write, const void* pc,
            Way way) {
  const char* a = static_cast<const char*>(address);
  Region* region = nullptr;
  if (size_t(a - shared.base) < shared.bytes) region = &shared;
  if (size_t(a - global.base) < global.bytes) region = &global;
  if (region == nullptr) {
    const bool nearer = a < global.base - kMaxShared / 2;
    Region& to = nearer ? shared : global;
    report(fault_at(Kind::out_of_bounds, &to, size_t(a - to.base), bytes, write, thread, pc));
    give_up();  // nothing may be mapped there
  }
  const size_t offset = size_t(a - region->base);
  if ((offset | bytes) & ((size_t(1) << granule_log2) - 1)) {
    finer = true;
    give_up();
  }
  touch(*region, offset, bytes, write, thread, pc, way);
}

void report_misaligned(const Thread& thread, const void* address, unsigned bytes, bool write,
                       const void* pc) {
  const Region& region = is_shared(address) ? shared : global;
  const size_t offset = size_t(static_cast<const char*>(address) - region.base);
  report(fault_at(Kind::misaligned, &region, offset, bytes, write, thread, pc));
}

void lane_access(int lane, const void* address, unsigned bytes, bool write) {
  const Thread& thread = machine.threads[machine.current->warp * kWarp + lane];
  if (size_t(address) % bytes != 0)
    report_misaligned(thread, address, bytes, write, thread.call.pc);
  access(thread, address, bytes, write, thread.call.pc);
}

void* shared_array(const char* name, size_t bytes, size_t alignment) {
  for (int i = 0; i < shared_count; ++i)
    if (strcmp(shared_arrays[i].name, name) == 0) return shared.base + shared_arrays[i].offset;
  // A multiple of all banks between arrays keeps the banks of what follows.
  const size_t gap = shared_count == 0 ? 0 : 128;
  const size_t offset = (shared_used + gap + alignment - 1) / alignment * alignment;
  size_t total = bytes;
  for (int i = 0; i < shared_count; ++i) total += shared_arrays[i].bytes;
  if (total > machine.shared_limit || offset + bytes > kMaxShared) {
    Fault fault{};
    fault.kind = Kind::shared_size, fault.array = kShared;
    fault.offset = int64_t(total), fault.bytes = int(machine.shared_limit);
    report(fault);
    give_up();
  }
  shared_arrays[shared_count++] = {name, offset, bytes};
  shared_used = offset + bytes;
  memset(shared.base + offset, 0xff, bytes);
  mark_inside(shared, offset, bytes);
  return shared.base + offset;
}

void* dynamic_shared_memory() {
  return shared_array("(dynamic)", machine.dynamic_bytes, 1024);
}

intptr_t shared_offset(const void* pointer) {
  return static_cast<const char*>(pointer) - shared.base;
}

void* shared_pointer(intptr_t offset) { return shared.base + offset; }

}  // namespace emulator
