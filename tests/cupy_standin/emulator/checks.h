// What -fsanitize finds, and accesses to memory that is not there, end the launch as other errors do.
#pragma once
#include <csetjmp>
#include <csignal>

#include "threads.h"

namespace emulator {
struct Location { const char* file; unsigned line, column; };

inline sigjmp_buf before_block;

inline void illegal_access(int, siginfo_t* what, void*) {
    append("block (%u, %u, %u), thread %d: illegal access to the address %p", blockIdx.x, blockIdx.y, blockIdx.z,
           current->number, what->si_addr);
    failed = true;
    siglongjmp(before_block, 1);
}

// While it lives, accesses to memory that is not there come back to `before_block`.
struct Guard {
    struct sigaction segment, bus;
    stack_t stack;
    alignas(16) char memory[64 << 10];

    Guard() {
        stack_t own{};
        own.ss_sp = memory;
        own.ss_size = sizeof memory;
        sigaltstack(&own, &stack);
        struct sigaction action {};
        action.sa_sigaction = illegal_access;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &segment);
        sigaction(SIGBUS, &action, &bus);
    }
    ~Guard() {
        sigaction(SIGSEGV, &segment, nullptr);
        sigaction(SIGBUS, &bus, nullptr);
        sigaltstack(&stack, nullptr);
    }
};
}  // namespace emulator

// g++ calls these, with the place in the source first in what `data` points to.
#define EMULATOR_HANDLER(name, problem, ...)                                                                           \
    extern "C" __attribute__((used, visibility("hidden"))) void __ubsan_handle_##name(void* data, ##__VA_ARGS__) {     \
        emulator::fail("%s at line %u", problem, static_cast<emulator::Location*>(data)->line);                        \
    }
EMULATOR_HANDLER(add_overflow, "integer overflow in +", void*, void*)
EMULATOR_HANDLER(sub_overflow, "integer overflow in -", void*, void*)
EMULATOR_HANDLER(mul_overflow, "integer overflow in *", void*, void*)
EMULATOR_HANDLER(negate_overflow, "integer overflow in -", void*)
EMULATOR_HANDLER(divrem_overflow, "division by zero, or integer overflow in /", void*, void*)
EMULATOR_HANDLER(shift_out_of_bounds, "shift by a negative number or too far", void*, void*)
EMULATOR_HANDLER(out_of_bounds, "index outside of an array", void*)
EMULATOR_HANDLER(type_mismatch_v1, "access to an address that is null or not aligned", void*)
