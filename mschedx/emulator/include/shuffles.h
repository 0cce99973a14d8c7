// Shuffles: lanes read a register of another lane of their warp.
#pragma once

namespace emulator {

template <typename T>
struct Shuffle {
  T value;
  T result;
  int from;  // lane
};

template <typename T>
void exchange(void* const* lanes) {
  for (int lane = 0; lane < 32; ++lane) {
    auto* mine = static_cast<Shuffle<T>*>(lanes[lane]);
    if (mine == nullptr) continue;
    // The value of a lane that takes no part is undefined: all bits set here.
    auto* other = static_cast<Shuffle<T>*>(lanes[mine->from]);
    if (other != nullptr)
      mine->result = other->value;
    else
      memset(&mine->result, 0xff, sizeof(T));
  }
}

unsigned lane_index();

template <typename T>
__forceinline__ T shuffle(const char* name, unsigned mask, T value, int from) {
  Shuffle<T> operands{value, value, from};
  warp_call(name, exchange<T>, mask, &operands);
  return operands.result;
}

// The lane at a distance, or the own one where that is in another segment of width lanes.
__forceinline__ int neighbour(int distance, int width) {
  int lane = static_cast<int>(lane_index()), other = lane + distance;
  return other < 0 || other / width != lane / width ? lane : other;
}

}  // namespace emulator

template <typename T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  int first = static_cast<int>(emulator::lane_index()) / width * width;
  return emulator::shuffle("shfl", mask, value, first + lane % width);
}
template <typename T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return emulator::shuffle("shfl", mask, value, emulator::neighbour(int(delta), width));
}
template <typename T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return emulator::shuffle("shfl", mask, value, emulator::neighbour(-int(delta), width));
}
template <typename T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  int lane = static_cast<int>(emulator::lane_index()), other = lane ^ bits;
  if (other / width > lane / width) other = lane;
  return emulator::shuffle("shfl", mask, value, other);
}
