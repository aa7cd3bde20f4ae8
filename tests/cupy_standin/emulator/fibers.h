// Fibers: threads of execution that give way to each other at calls of `switch_to` only.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && defined(__linux__) && !defined(EMULATOR_UCONTEXT)

// Pushes what a callee must preserve, exchanges the stacks, pops it again.
asm(R"(
.text
.p2align 4
.local emulator_switch_stacks
.type emulator_switch_stacks, @function
emulator_switch_stacks:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emulator_switch_stacks, . - emulator_switch_stacks
)");
extern "C" __attribute__((visibility("hidden"))) void emulator_switch_stacks(void** leaving, void* entering);

namespace emulator {
struct Fiber {
    void* top = nullptr;

    // `begin` never returns. The stack is as if `begin` had just been called, below six saved registers.
    void prepare(char* stack, size_t bytes, void (*begin)()) {
        void** word = reinterpret_cast<void**>(uintptr_t(stack + bytes) & ~uintptr_t(15));
        *--word = nullptr;
        *--word = reinterpret_cast<void*>(begin);
        for (int i = 0; i < 6; ++i) *--word = nullptr;
        top = word;
    }
    void switch_to(Fiber& other) { emulator_switch_stacks(&top, other.top); }
};
}  // namespace emulator

#else
#include <ucontext.h>

namespace emulator {
struct Fiber {
    ucontext_t context;

    void prepare(char* stack, size_t bytes, void (*begin)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = bytes;
        context.uc_link = nullptr;
        makecontext(&context, begin, 0);
    }
    void switch_to(Fiber& other) { swapcontext(&context, &other.context); }
};
}  // namespace emulator
#endif
