// What Python calls: EMULATOR_KERNEL(name, most threads) defines describe_<name> and launch_<name>.
#pragma once
#include <memory>
#include <type_traits>

#include "checks.h"
#include "instructions.h"

namespace emulator {

struct Launch {
    unsigned grid[3], block[3];
    int shared;
    uint64_t seed;
    char* stacks;
    uint64_t stack_bytes;
    char* message;
    int message_bytes;
};

struct Parameter { int bytes, kind; };  // kind: 'p'ointer, 'i'nteger, 'f'loating or 's'tructure

template <class P> constexpr Parameter parameter() {
    return {sizeof(P), std::is_pointer_v<P>          ? 'p'
                       : std::is_integral_v<P>       ? 'i'
                       : std::is_floating_point_v<P> ? 'f'
                                                     : 's'};
}

// Of the arguments of __launch_bounds__ only the first is about what a launch may be.
constexpr int first(int threads, int = 0, int = 0) { return threads; }

inline void** arguments;

template <auto kernel> struct Kernel;
template <class... P, void (*kernel)(P...)> struct Kernel<kernel> {
    static int describe(Parameter* parameters) {
        int count = 0;
        ((parameters[count++] = parameter<P>()), ...);
        return count;
    }
    static void call() { call(std::index_sequence_for<P...>{}); }
    template <size_t... i> static void call(std::index_sequence<i...>) { kernel(*static_cast<P*>(arguments[i])...); }
};

inline int launch(const Launch& given, void** values, void (*kernel)()) {
    body = kernel;
    arguments = values;
    chance.state = given.seed | 1;
    message = given.message;
    message_bytes = given.message_bytes;
    message[0] = 0;
    failed = false;
    shared_bytes = given.shared;
    gridDim = {given.grid[0], given.grid[1], given.grid[2]};
    blockDim = {given.block[0], given.block[1], given.block[2]};
    threads.resize(size_t(blockDim.x) * blockDim.y * blockDim.z);
    for (size_t i = 0; i < threads.size(); ++i) threads[i].number = int(i);
    std::vector<unsigned> blocks(size_t(gridDim.x) * gridDim.y * gridDim.z);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = unsigned(i);
    chance.shuffle(blocks.data(), unsigned(blocks.size()));
    auto guard = std::make_unique<Guard>();
    if (sigsetjmp(before_block, 1)) return true;
    for (unsigned i : blocks) {
        blockIdx = {i % gridDim.x, i / gridDim.x % gridDim.y, i / (gridDim.x * gridDim.y)};
        run_block(given.stacks, given.stack_bytes);
        if (failed) break;
    }
    return failed;
}

}  // namespace emulator

#define EMULATOR_EXPORTED extern "C" __attribute__((visibility("default")))
#define EMULATOR_KERNEL(name, most)                                                                                    \
    EMULATOR_EXPORTED int describe_##name(emulator::Parameter* parameters) {                                           \
        return emulator::Kernel<name>::describe(parameters);                                                           \
    }                                                                                                                  \
    EMULATOR_EXPORTED int launch_##name(const emulator::Launch* given, void** values) {                                \
        return emulator::launch(*given, values, emulator::Kernel<name>::call);                                         \
    }                                                                                                                  \
    EMULATOR_EXPORTED int most_threads_##name() { return most; }
