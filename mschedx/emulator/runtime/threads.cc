// Threads of a block as coroutines, and what they wait for.
#include <stdlib.h>
#include <sys/mman.h>

#include "machine.h"

namespace emulator {

Machine machine;

namespace {

constexpr size_t kStack = 512 << 10;

char* stacks;
int made;  // threads that have a stack and wait at its start
jmp_buf launcher;
ucontext_t maker;
Kernel kernel;
void** arguments;
int runnable[kMaxThreads], runnable_count, waiting_count, done_count;

void make_runnable(Thread& thread) {
  thread.state = State::runnable;
  ++machine.warps[thread.warp].runnable;
  runnable[runnable_count++] = thread.index;
}

void release_barrier() {
  ++machine.epoch;
  if (machine.counting) flush_logs();
  waiting_count = 0;
  for (int i = 0; i < machine.size; ++i)
    if (machine.threads[i].state == State::at_barrier) make_runnable(machine.threads[i]);
}

// Lanes of a warp that wait with the same call; one that waits for nobody in particular, by its
// mask of 0, goes with those at the same place.
unsigned callers(const Thread* lanes, int size, const WarpCall& call) {
  unsigned found = 0;
  for (int i = 0; i < size; ++i)
    if (lanes[i].state == State::in_warp_call && lanes[i].call.body == call.body &&
        lanes[i].call.mask == call.mask && lanes[i].call.name == call.name &&
        (call.mask != 0 || lanes[i].call.pc == call.pc))
      found |= 1u << i;
  return found;
}

void perform(Warp& warp, Thread* lanes, unsigned who) {
  void* operands[kWarp] = {};
  for (int i = 0; i < warp.size; ++i)
    if (who >> i & 1) operands[i] = lanes[i].call.operands;
  const WarpCall& call = lanes[__builtin_ctz(who)].call;
  count_instruction(call.name);
  call.body(operands);
  for (int i = 0; i < warp.size; ++i)
    if (who >> i & 1) make_runnable(lanes[i]);
}

// Perform what all its lanes have come to; called when no lane of the warp can run.
void resolve(Warp& warp, Thread* lanes) {
  unsigned present = 0;
  for (int i = 0; i < warp.size; ++i)
    if (lanes[i].state != State::done) present |= 1u << i;
  for (int i = 0; i < warp.size; ++i) {
    if (lanes[i].state != State::in_warp_call) continue;
    const WarpCall& call = lanes[i].call;
    const unsigned who = callers(lanes, warp.size, call);
    if ((call.mask & present & ~who) == 0 || call.mask == 0) perform(warp, lanes, who);
  }
}

[[noreturn]] void report_stuck() {
  // Name two threads that wait for what will not happen together.
  const Thread* one = nullptr;
  const Thread* other = nullptr;
  for (int i = 0; i < machine.size; ++i) {
    const Thread& thread = machine.threads[i];
    if (thread.state == State::in_warp_call && one == nullptr) one = &thread;
    if (thread.state == State::at_barrier && other == nullptr) other = &thread;
  }
  if (one == nullptr) one = other;
  for (int i = 0; i < machine.size; ++i) {
    const Thread& thread = machine.threads[i];
    if (thread.state == State::in_warp_call && one != nullptr && thread.call.body != one->call.body)
      other = &thread;
  }
  auto where = [](const Thread* t) {
    if (t == nullptr) return uint64_t(0);
    return uint64_t(t->state == State::at_barrier ? t->barrier_pc : t->call.pc);
  };
  Fault fault{};
  fault.kind = Kind::divergence, fault.array = kNoArray;
  fault.thread = one ? one->index : 0, fault.other_thread = other ? other->index : 0;
  fault.pc = where(one), fault.other_pc = where(other);
  report(fault);
  give_up();
}

void switch_to_next(Thread& self) {
  if (runnable_count == 0) {
    if (done_count == machine.size) {
      // The last thread stays where it is until the next block starts it.
      if (_setjmp(self.context) == 0) _longjmp(launcher, 1);
      return;
    }
    report_stuck();
  }
  const int pick = static_cast<int>((draw() >> 33) % unsigned(runnable_count));
  Thread& next = machine.threads[runnable[pick]];
  runnable[pick] = runnable[--runnable_count];
  if (&next == &self) return;
  machine.current = &next;
  if (_setjmp(self.context) == 0) _longjmp(next.context, 1);
}

// Stop running for what other threads have to do.
void wait_as(Thread& self, State state) {
  Warp& warp = machine.warps[self.warp];
  self.state = state;
  --warp.runnable;
  if (waiting_count + done_count == machine.size && waiting_count > 0) release_barrier();
  if (warp.runnable == 0) resolve(warp, &machine.threads[self.warp * kWarp]);
  switch_to_next(self);
}

void live(int index) {
  Thread& self = machine.threads[index];
  if (_setjmp(self.context) == 0) swapcontext(&self.start, &maker);
  for (;;) {
    kernel(arguments);
    land_all_copies(self);
    ++done_count;
    ++machine.warps[self.warp].done;
    wait_as(self, State::done);
  }
}

void make_threads(int count) {
  if (stacks == nullptr) {
    void* memory = mmap(nullptr, kStack * kMaxThreads, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    stacks = static_cast<char*>(memory);
  }
  for (; made < count; ++made) {
    Thread& thread = machine.threads[made];
    thread.index = made, thread.warp = made / kWarp, thread.lane = made % kWarp;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = stacks + made * kStack;
    thread.start.uc_stack.ss_size = kStack;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, reinterpret_cast<void (*)()>(live), 1, made);
    swapcontext(&maker, &thread.start);
  }
}

void start_threads() {
  runnable_count = waiting_count = done_count = 0;
  for (int i = 0; i < machine.size; ++i) {
    Warp& warp = machine.warps[i / kWarp];
    if (i % kWarp == 0) {
      const int left = machine.size - i;
      warp = {left < kWarp ? left : kWarp, 0, 0, 0};
    }
    Thread& thread = machine.threads[i];
    thread.position[0] = unsigned(i) % machine.block_size[0];
    thread.position[1] = unsigned(i) / machine.block_size[0] % machine.block_size[1];
    thread.position[2] = unsigned(i) / machine.block_size[0] / machine.block_size[1];
    thread.copies.clear(), thread.open_group = 0, thread.log.clear();
    make_runnable(thread);
  }
}

}  // namespace

void report_divergence(int lane) {
  const Thread& self = *machine.current;
  Fault fault{};
  fault.kind = Kind::divergence, fault.array = kNoArray, fault.block = machine.block_number;
  fault.thread = self.warp * kWarp + lane, fault.other_thread = self.index;
  fault.pc = fault.other_pc = uint64_t(self.call.pc);
  report(fault);
}

bool complete(void* const* lanes) {
  for (int lane = 0; lane < kWarp; ++lane)
    if (lanes[lane] == nullptr) return report_divergence(lane), false;
  return true;
}

bool run_block(Kernel run, void** with) {
  kernel = run, arguments = with;
  make_threads(machine.size);
  start_threads();
  ++machine.epoch;
  machine.block_start = machine.epoch;
  const int how = _setjmp(launcher);
  if (how == 0) {
    const int pick = static_cast<int>((draw() >> 33) % unsigned(runnable_count));
    machine.current = &machine.threads[runnable[pick]];
    runnable[pick] = runnable[--runnable_count];
    _longjmp(machine.current->context, 1);
  }
  if (how == 1 && machine.counting) flush_logs();
  return how == 1;
}

// After giving up, stacks hold calls that will never return.
void forget_stacks() { made = 0; }

void give_up() {
  _longjmp(launcher, 2);
}

void pre_empt() {
  Thread& self = *machine.current;
  runnable[runnable_count++] = self.index;
  switch_to_next(self);
}

void sync_threads() {
  count_instruction("barrier");
  Thread& self = *machine.current;
  self.barrier_pc = __builtin_return_address(0);
  ++waiting_count;
  wait_as(self, State::at_barrier);
}

void warp_call(const char* name, WarpBody body, unsigned mask, void* operands) {
  Thread& self = *machine.current;
  self.call = {name, body, mask, operands, __builtin_return_address(0)};
  wait_as(self, State::in_warp_call);
}

void sync_warp(unsigned mask) {
  static const WarpBody order = [](void* const*) {
    ++machine.warps[machine.current->warp].epoch;
  };
  Thread& self = *machine.current;
  self.call = {"syncwarp", order, mask, &self, __builtin_return_address(0)};
  wait_as(self, State::in_warp_call);
}

// A mask of 0 waits for nobody: who has come when no lane can run is active.
unsigned active_mask() {
  static const WarpBody gather = [](void* const* lanes) {
    unsigned mask = 0;
    for (int i = 0; i < kWarp; ++i) mask |= unsigned(lanes[i] != nullptr) << i;
    for (int i = 0; i < kWarp; ++i)
      if (lanes[i] != nullptr) *static_cast<unsigned*>(lanes[i]) = mask;
  };
  unsigned mask = 0;
  Thread& self = *machine.current;
  self.call = {"activemask", gather, 0, &mask, __builtin_return_address(0)};
  wait_as(self, State::in_warp_call);
  return mask;
}

unsigned lane_index() { return unsigned(machine.current->lane); }

extern "C" {
unsigned emulator_thread(int axis) { return machine.current->position[axis]; }
unsigned emulator_block(int axis) { return machine.block[axis]; }
unsigned emulator_block_size(int axis) { return machine.block_size[axis]; }
unsigned emulator_grid_size(int axis) { return machine.grid_size[axis]; }
}

}  // namespace emulator
