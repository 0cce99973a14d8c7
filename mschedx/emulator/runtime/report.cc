// What was found, each place once with how often.
#include "machine.h"

namespace emulator {

namespace {

constexpr size_t kMaxFaults = 64;
std::vector<Fault> faults;
uint64_t more;

}  // namespace

void clear_report() { faults.clear(), more = 0; }

void report(Fault fault) {
  fault.count = 1;
  for (Fault& known : faults) {
    if (known.kind == fault.kind && known.pc == fault.pc && known.other_pc == fault.other_pc) {
      ++known.count;
      return;
    }
  }
  if (faults.size() < kMaxFaults)
    faults.push_back(fault);
  else
    ++more;
}

extern "C" {
uint64_t emulator_faults(const Fault** found) {
  *found = faults.data();
  return faults.size();
}
uint64_t emulator_more_faults() { return more; }
}

}  // namespace emulator
