// Requests of memory as the hardware counts them: what the lanes of a warp ask for with one
// instruction is one request, moved in wavefronts (shared memory) or sectors (global memory).
#include <string.h>

#include <algorithm>
#include <map>

#include "machine.h"

namespace emulator {

namespace {

constexpr int kBanks = 32;

struct Site {
  uint64_t pc;
  uint32_t write, shared;
  uint64_t requests, bytes;
  uint64_t transfers;  // wavefronts of shared memory, 32-byte sectors of global memory
  uint64_t least;      // of wavefronts, had no two words of a bank met; of sectors, bytes / 32
};

struct Instruction {
  const char* name;
  uint64_t count;
};

std::map<std::pair<uint64_t, bool>, Site> sites;
std::vector<Site> listed;
std::vector<Instruction> instructions;

// Passes that move pieces together: the most different words that one bank has to give.
uint64_t wavefronts(const Piece* pieces, int n) {
  std::vector<uint64_t> words;
  for (int i = 0; i < n; ++i)
    for (uint64_t w = pieces[i].address / 4; w <= (pieces[i].address + pieces[i].bytes - 1) / 4; ++w)
      words.push_back(w);
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  int of_bank[kBanks] = {}, most = 0;
  for (uint64_t w : words) most = std::max(most, ++of_bank[w % kBanks]);
  return uint64_t(most);
}

uint64_t sectors(const Piece* pieces, int n) {
  std::vector<uint64_t> found;
  for (int i = 0; i < n; ++i)
    for (uint64_t s = pieces[i].address / 32; s <= (pieces[i].address + pieces[i].bytes - 1) / 32; ++s)
      found.push_back(s);
  std::sort(found.begin(), found.end());
  return uint64_t(std::unique(found.begin(), found.end()) - found.begin());
}

uint64_t distinct_bytes(const Piece* pieces, int n) {
  std::vector<uint64_t> starts;
  for (int i = 0; i < n; ++i) starts.push_back(pieces[i].address);
  std::sort(starts.begin(), starts.end());
  return uint64_t(std::unique(starts.begin(), starts.end()) - starts.begin()) * pieces[0].bytes;
}

// The accesses of a warp's lanes by one execution of an instruction.
void count_request(uint64_t pc, bool write, bool shared, std::vector<Piece>& lanes) {
  // 8 bytes a lane go by half warps, 16 by quarters.
  const uint32_t bytes = lanes[0].bytes;
  const int together = bytes <= 4 ? kWarp : bytes <= 8 ? kWarp / 2 : kWarp / 4;
  count_pieces(reinterpret_cast<const void*>(pc), write, shared, lanes.data(), int(lanes.size()),
               shared ? together : kWarp);
}

// Lanes need not execute the same accesses. The n-th execution of an instruction by one lane goes
// with the n-th by every other, which is exact as long as no lane skips one in the middle.
void flush_warp(Thread* lanes, int size) {
  bool alike = true;
  for (int i = 1; i < size && alike; ++i) {
    alike = lanes[i].log.size() == lanes[0].log.size();
    for (size_t j = 0; alike && j < lanes[0].log.size(); ++j)
      alike = lanes[i].log[j].pc == lanes[0].log[j].pc;
  }
  std::vector<Piece> pieces;
  if (alike) {
    for (size_t j = 0; j < lanes[0].log.size(); ++j) {
      pieces.clear();
      for (int i = 0; i < size; ++i) pieces.push_back({lanes[i].log[j].address, lanes[i].log[j].bytes});
      const Entry& entry = lanes[0].log[j];
      count_request(entry.pc, entry.write, entry.shared, pieces);
    }
  } else {
    std::map<std::pair<uint64_t, uint64_t>, std::vector<const Entry*>> requests;
    for (int i = 0; i < size; ++i) {
      std::map<uint64_t, uint64_t> times;
      for (const Entry& entry : lanes[i].log) requests[{entry.pc, times[entry.pc]++}].push_back(&entry);
    }
    for (const auto& [key, entries] : requests) {
      pieces.clear();
      for (const Entry* entry : entries) pieces.push_back({entry->address, entry->bytes});
      count_request(key.first, entries[0]->write, entries[0]->shared, pieces);
    }
  }
  for (int i = 0; i < size; ++i) lanes[i].log.clear();
}

}  // namespace

void clear_counts() { sites.clear(), instructions.clear(); }

void count_instruction(const char* name) {
  for (Instruction& known : instructions) {
    if (known.name == name || strcmp(known.name, name) == 0) {
      ++known.count;
      return;
    }
  }
  instructions.push_back({name, 1});
}

void count(const char* name) { count_instruction(name); }

void count_pieces(const void* pc, bool write, bool shared, const Piece* pieces, int n, int together) {
  Site& site = sites[{uint64_t(pc), write}];
  site.pc = uint64_t(pc), site.write = write, site.shared = shared;
  ++site.requests;
  for (int i = 0; i < n; i += together) {
    const int some = std::min(together, n - i);
    const uint64_t bytes = distinct_bytes(pieces + i, some);
    for (int j = i; j < i + some; ++j) site.bytes += pieces[j].bytes;
    if (shared) {
      site.transfers += wavefronts(pieces + i, some);
      site.least += (bytes + 4 * kBanks - 1) / (4 * kBanks);
    } else {
      site.transfers += sectors(pieces + i, some);
      site.least += (bytes + 31) / 32;
    }
  }
}

void flush_logs() {
  for (int i = 0; i < machine.size; i += kWarp)
    flush_warp(&machine.threads[i], std::min(kWarp, machine.size - i));
}

extern "C" {
uint64_t emulator_sites(const Site** found) {
  listed.clear();
  for (const auto& [key, site] : sites) listed.push_back(site);
  *found = listed.data();
  return listed.size();
}
uint64_t emulator_instructions(const Instruction** found) {
  *found = instructions.data();
  return instructions.size();
}
}

}  // namespace emulator
