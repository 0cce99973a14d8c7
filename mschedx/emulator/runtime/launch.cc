// Run a grid: blocks one after the other, in random order.
#include <dlfcn.h>
#include <string.h>

#include <algorithm>
#include <numeric>

#include "machine.h"

namespace emulator {

struct Launch {
  uint32_t grid[3], block[3];
  uint64_t dynamic_bytes, shared_limit, seed, preempt_mean;
  uint32_t counting, granule_log2;
  uint64_t arrays;
  void** data;
  const size_t* bytes;
};

enum class Outcome : int32_t { finished, given_up, finer_granules, too_large };

extern "C" int32_t emulator_launch(Kernel kernel, const Launch* launch) {
  reserve_memory();
  std::vector<void*> arguments(launch->arrays);
  if (!lay_out_arrays(int(launch->arrays), launch->bytes, int(launch->granule_log2),
                      arguments.data()))
    return int32_t(Outcome::too_large);
  for (size_t i = 0; i < launch->arrays; ++i)
    memcpy(arguments[i], launch->data[i], launch->bytes[i]);
  clear_report(), clear_counts();
  machine.random = launch->seed * 0x9e3779b97f4a7c15ull + 1;
  machine.counting = launch->counting;
  machine.preempt_mean = launch->preempt_mean;
  machine.preempt_left = launch->preempt_mean == 0 ? 0 : draw() % (2 * launch->preempt_mean);
  machine.dynamic_bytes = launch->dynamic_bytes, machine.shared_limit = launch->shared_limit;
  std::copy_n(launch->grid, 3, machine.grid_size);
  std::copy_n(launch->block, 3, machine.block_size);
  machine.size = int(launch->block[0] * launch->block[1] * launch->block[2]);
  machine.launch_start = ++machine.epoch;

  std::vector<uint32_t> order(size_t(launch->grid[0]) * launch->grid[1] * launch->grid[2]);
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[(draw() >> 33) % i]);
  for (uint32_t number : order) {
    machine.block_number = int(number);
    machine.block[0] = number % launch->grid[0];
    machine.block[1] = number / launch->grid[0] % launch->grid[1];
    machine.block[2] = number / launch->grid[0] / launch->grid[1];
    start_block_memory();
    if (run_block(kernel, arguments.data())) continue;
    forget_stacks();
    return int32_t(needs_finer_granules() ? Outcome::finer_granules : Outcome::given_up);
  }
  for (size_t i = 0; i < launch->arrays; ++i)
    memcpy(launch->data[i], arguments[i], launch->bytes[i]);
  return int32_t(Outcome::finished);
}

// Where the library that has this code was loaded.
extern "C" uint64_t emulator_code_start(uint64_t pc) {
  Dl_info info;
  return dladdr(reinterpret_cast<const void*>(pc), &info) == 0 ? 0 : uint64_t(info.dli_fbase);
}

}  // namespace emulator
