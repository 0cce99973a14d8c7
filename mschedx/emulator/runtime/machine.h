// The machine that runs one block after the other, each thread of a block on a stack of its own.
//
// Symbols: a granule is the unit in which accesses are tracked, 1, 2 or 4 bytes; an epoch counts
// what orders memory: barriers of the block, and within it synchronisations of a warp.
#pragma once

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include <vector>

namespace emulator {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;
constexpr size_t kMaxShared = 256 << 10;

using WarpBody = void (*)(void* const* lanes);
using Kernel = void (*)(void** arguments);

// What ../report.py knows under the same numbers.
enum class Kind : int32_t { race, out_of_bounds, uninitialised, misaligned, divergence, shared_size };

struct Fault {
  Kind kind;
  int32_t array;  // argument of the kernel; -1: shared memory; -2: none
  int64_t offset;  // bytes from the array's start
  int32_t bytes, write, other_write, asynchronous;
  int32_t thread, other_thread, block, reserved;
  uint64_t pc, other_pc;  // where, and where the access was that this one clashes with
  uint64_t count;
};

struct Copy {
  char* target;
  const char* source;
  int bytes, from_source;
  uint32_t group;
  const void* pc;
};

enum class State { runnable, at_barrier, in_warp_call, done };

struct WarpCall {
  const char* name;
  WarpBody body;
  unsigned mask;
  void* operands;
  const void* pc;
};

struct Entry {  // of a thread's log of accesses
  uint64_t pc;
  uint64_t address;
  uint32_t bytes;
  bool write, shared;
};

struct Thread {
  jmp_buf context;
  ucontext_t start;
  State state;
  int index, warp, lane;
  unsigned position[3];
  const void* barrier_pc;
  WarpCall call;
  std::vector<Copy> copies;
  uint32_t open_group;
  std::vector<Entry> log;
};

struct Warp {
  int size, runnable, done;
  uint32_t epoch;
};

struct Machine {
  Thread threads[kMaxThreads];
  Warp warps[kMaxThreads / kWarp];
  Thread* current;
  int size;  // threads of a block
  unsigned block[3], block_size[3], grid_size[3];
  int block_number;
  uint32_t epoch, block_start, launch_start;
  uint64_t random;
  uint64_t preempt_mean, preempt_left;  // accesses between pre-emptions; 0: none
  bool counting;
  size_t dynamic_bytes, shared_limit;
  char* memory;  // of the device, with its margins
  size_t memory_bytes;
};

// Hidden: reached without the table of the library's symbols.
extern Machine machine __attribute__((visibility("hidden")));

inline uint64_t draw() {  // xorshift64*
  uint64_t x = machine.random;
  x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
  machine.random = x;
  return x * 0x2545f4914f6cdd1dull;
}

// threads.cc
bool run_block(Kernel kernel, void** arguments);  // false: given up
void forget_stacks();
[[noreturn]] void give_up();
void pre_empt();
// Of a warp-wide instruction: whether all 32 lanes have come; that they have not is reported.
bool complete(void* const* lanes);
void report_divergence(int lane);

// memory.cc
constexpr int kShared = -1, kNoArray = -2;
void reserve_memory();
bool lay_out_arrays(int count, const size_t* bytes, int granule_log2, void** addresses);
void start_block_memory();
// An access of a thread. Copies that have not landed are pending; landing ones were checked before.
enum class Way { plain, issue, land };
void access(const Thread& thread, const void* address, unsigned bytes, bool write, const void* pc,
            Way way = Way::plain);
void lane_access(int lane, const void* address, unsigned bytes, bool write);
void report_misaligned(const Thread& thread, const void* address, unsigned bytes, bool write,
                       const void* pc);
bool needs_finer_granules();
bool is_shared(const void* address);
intptr_t shared_offset(const void* pointer);

// copies.cc
void land_copies(Thread& thread, uint32_t groups_left);
void land_all_copies(Thread& thread);

// report.cc
void report(Fault fault);
void clear_report();

// counts.cc
void clear_counts();
void count_instruction(const char* name);
void flush_logs();
// Pieces that a warp-wide instruction moves together, `together` at a time.
struct Piece {
  uint64_t address;
  uint32_t bytes;
};
void count_pieces(const void* pc, bool write, bool shared, const Piece* pieces, int n, int together);

}  // namespace emulator
