// Run a network that NetworkResult.export wrote, from C++ and with TVM's runtime alone.
//
//   g++ -std=c++17 -O2 examples/serve_network.cc -o serve_network $(python examples/serve_network.py --flags)
//   ./serve_network network.so 1 3 32 32        # a float32 input of this shape
//
// TVM's threads: TVM_BIND_THREADS=0 TVM_NUM_THREADS=<cores> lets kernels use all cores that the
// process may use (`nproc`; fewer under a cgroup's quota). More threads than cores wait for each other.

#include <dlpack/dlpack.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace ffi = tvm::ffi;

// Memory for tensors: kernels rely on 64 bytes of alignment.
struct Aligned {
  void AllocData(DLTensor* tensor) {
    tensor->data = std::aligned_alloc(64, (ffi::GetDataSize(*tensor) + 63) / 64 * 64);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "expected the path of a network and the extents of its input\n";
    return 2;
  }
  std::vector<int64_t> extents;
  for (int i = 2; i < argc; ++i) extents.push_back(std::atoll(argv[i]));

  ffi::Module library = ffi::Module::LoadFromFile(argv[1]);
  ffi::Module machine = (*library->GetFunction("vm_load_executable"))().cast<ffi::Module>();
  constexpr int kPooled = 2;  // the allocator
  (*machine->GetFunction("vm_initialization"))(static_cast<int>(kDLCPU), 0, kPooled);
  ffi::Function network = *machine->GetFunction("main");

  ffi::Tensor input = ffi::Tensor::FromNDAlloc(Aligned(), ffi::Shape(extents),
                                               DLDataType{kDLFloat, 32, 1}, DLDevice{kDLCPU, 0});
  float* values = static_cast<float*>(input.data_ptr());
  for (int64_t i = 0; i < input.numel(); ++i) values[i] = static_cast<float>(i % 7) / 7;

  auto run = [&] {
    ffi::Any output = network(input);
    if (auto tensor = output.as<ffi::Tensor>()) return *tensor;
    return output.cast<ffi::Array<ffi::Tensor>>()[0];
  };
  run();  // the first call allocates
  auto begin = std::chrono::steady_clock::now();
  ffi::Tensor output = run();
  std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begin;

  const float* results = static_cast<const float*>(output.data_ptr());
  std::cerr << spent.count() << " ms\n";
  for (int64_t i = 0; i < output.numel(); ++i) std::cout << results[i] << "\n";
  return 0;
}
