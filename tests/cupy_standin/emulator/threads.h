// The threads of a block as fibers. They run one at a time, in an order drawn from a seed, each until it waits for
// others: at __syncthreads for its block, at a collective operation of a warp for its warp.
#pragma once
#include <algorithm>
#include <cstdarg>
#include <vector>

#include "cuda.h"
#include "fibers.h"

namespace emulator {

struct Random {
    uint64_t state = 1;
    uint64_t next() {  // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Dull;
    }
    unsigned below(unsigned bound) { return unsigned((next() >> 32) * bound >> 32); }
    template <class T> void shuffle(T* items, unsigned count) {
        for (unsigned i = count; i > 1; --i) std::swap(items[i - 1], items[below(i)]);
    }
};

struct Copy { char* to; const char* from; int bytes, group; };
enum class State { ready, waits, finished };

struct Thread {
    Fiber fiber;
    uint3 index;
    int number;
    State state;
    // Where it waits, and for whom: `mask` names lanes of its warp; a barrier has none.
    const char* operation;
    int line;
    unsigned mask;
    void* data;
    // Asynchronous copies that have not landed.
    std::vector<Copy> copies;
    int group;
};

constexpr unsigned SHARED_LIMIT = 227 << 10, SHARED_CANARY = 4096;
alignas(128) inline char shared_memory[SHARED_LIMIT + SHARED_CANARY];
constexpr unsigned char POISON = 0xFF, CANARY = 0xFE;  // both are NaN as float and as half

inline Random chance;
inline std::vector<Thread> threads;
inline std::vector<Thread*> ready;
inline Thread* current;
inline Fiber scheduler;
inline int arrived, finished, shared_bytes;
inline bool by_warps;  // whether a warp runs as far as it can before another does
inline bool failed;
inline char* message;
inline int message_bytes;
inline void (*body)();

inline void append(const char* format, ...) {
    va_list values;
    va_start(values, format);
    int used = int(strlen(message));
    vsnprintf(message + used, size_t(message_bytes - used), format, values);
    va_end(values);
}

inline void suspend() { current->fiber.switch_to(scheduler); }

// Ends the launch. Only what Python raises is left of it.
template <class... Values> void fail(const char* format, Values... values) {
    append("block (%u, %u, %u), thread %d: ", blockIdx.x, blockIdx.y, blockIdx.z, current->number);
    append(format, values...);
    failed = true;
    suspend();
}

inline void land(Copy& copy) {
    memcpy(copy.to, copy.from, size_t(copy.bytes));
    memset(copy.to + copy.bytes, 0, size_t(16 - copy.bytes));
}

// Lands the copies of groups before this one. They need not land in the order of their issue.
inline void land_groups(Thread& thread, int before) {
    chance.shuffle(thread.copies.data(), unsigned(thread.copies.size()));
    size_t kept = 0;
    for (Copy& copy : thread.copies)
        if (copy.group < before) land(copy);
        else thread.copies[kept++] = copy;
    thread.copies.resize(kept);
}

inline void land_one(Thread& thread) {
    std::swap(thread.copies[chance.below(unsigned(thread.copies.size()))], thread.copies.back());
    land(thread.copies.back());
    thread.copies.pop_back();
}

// Puts threads of one warp where the scheduler takes them from.
inline void make_ready(Thread** first, unsigned count) {
    chance.shuffle(first, count);
    for (unsigned i = 0; i < count; ++i) {
        first[i]->state = State::ready;
        ready.push_back(first[i]);
    }
}

inline void make_all_ready() {
    std::vector<unsigned> warps((threads.size() + 31) / 32);
    for (unsigned i = 0; i < warps.size(); ++i) warps[i] = i;
    chance.shuffle(warps.data(), unsigned(warps.size()));
    for (unsigned warp : warps) {
        Thread* lanes[32];
        unsigned count = 0;
        for (size_t i = warp * 32; i < threads.size() && count < 32; ++i) lanes[count++] = &threads[i];
        make_ready(lanes, count);
    }
}

inline void wait(const char* operation, int line, unsigned mask, void* data) {
    Thread& self = *current;
    self.state = State::waits;
    self.operation = operation;
    self.line = line;
    self.mask = mask;
    self.data = data;
}

// Of the threads that are not ready: how many wait where. One clause for each place.
inline void append_whereabouts() {
    std::vector<bool> told(threads.size());
    for (size_t i = 0; i < threads.size(); ++i) {
        Thread& one = threads[i];
        if (told[i] || one.state == State::ready) continue;
        int count = 0;
        for (size_t j = i; j < threads.size(); ++j) {
            Thread& other = threads[j];
            bool together = one.state == other.state && (one.state == State::finished ||
                (one.operation == other.operation && one.line == other.line && one.mask == other.mask));
            if (together) told[j] = true, ++count;
        }
        append("; %d threads (%d is the first) ", count, one.number);
        if (one.state == State::finished) append("have returned");
        else append("wait in %s at line %d", one.operation, one.line);
        if (one.state == State::waits && one.mask) append(" with mask 0x%x", one.mask);
    }
}

inline void fail_together(const char* problem) {
    append("block (%u, %u, %u): %s", blockIdx.x, blockIdx.y, blockIdx.z, problem);
    append_whereabouts();
    failed = true;
}

// `complete` is called once, when every lane of the mask has come, with the waiting threads by lane.
inline __attribute__((noinline)) void collective(const char* operation, int line, unsigned mask, void* data,
                                                 void (*complete)(Thread**)) {
    Thread* first = &threads[size_t(current->number & ~31)];
    int size = int(std::min<size_t>(32, threads.size() - size_t(first->number)));
    if (!(mask >> (current->number & 31) & 1)) fail("%s at line %d: a thread outside its own mask", operation, line);
    wait(operation, line, mask, data);
    for (int i = 0; i < size; ++i)
        if (mask >> i & 1 && (first[i].state != State::waits || first[i].operation != operation ||
                              first[i].line != line || first[i].mask != mask))
            return suspend();
    Thread *lanes[32] = {}, *waiting[32];
    unsigned count = 0;
    for (int i = 0; i < size; ++i)
        if (mask >> i & 1) lanes[i] = waiting[count++] = &first[i];
    complete(lanes);
    make_ready(waiting, count);
    suspend();
}

inline void thread_begins() {
    body();
    current->state = State::finished;
    land_groups(*current, current->group + 1);
    ++finished;
    suspend();
}

inline void run_block(char* stacks, size_t stack_bytes) {
    memset(shared_memory, POISON, size_t(shared_bytes));
    memset(shared_memory + shared_bytes, CANARY, SHARED_CANARY);
    arrived = finished = 0;
    by_warps = chance.below(2);
    ready.clear();
    for (Thread& thread : threads) {
        int i = thread.number;
        thread.fiber.prepare(stacks + size_t(i) * stack_bytes, stack_bytes - 64, thread_begins);
        thread.index = {unsigned(i) % blockDim.x, unsigned(i) / blockDim.x % blockDim.y,
                        unsigned(i) / (blockDim.x * blockDim.y)};
        thread.copies.clear();
        thread.group = 0;
    }
    make_all_ready();
    while (!ready.empty()) {
        if (!by_warps) std::swap(ready[chance.below(unsigned(ready.size()))], ready.back());
        current = ready.back();
        ready.pop_back();
        if (!current->copies.empty() && chance.below(4) == 0) land_one(*current);
        threadIdx = current->index;
        scheduler.switch_to(current->fiber);
        if (failed) return;
    }
    if (finished < int(threads.size())) {
        fail_together("threads wait for each other for ever");
        return;
    }
    for (unsigned i = 0; i < SHARED_CANARY && !failed; ++i)
        if (static_cast<unsigned char>(shared_memory[unsigned(shared_bytes) + i]) != CANARY) {
            append("block (%u, %u, %u) wrote to byte %u of %d bytes of shared memory", blockIdx.x, blockIdx.y,
                   blockIdx.z, unsigned(shared_bytes) + i, shared_bytes);
            failed = true;
        }
}

}  // namespace emulator

inline void __syncthreads(int line = __builtin_LINE()) {
    using namespace emulator;
    wait("__syncthreads", line, 0, nullptr);
    ++arrived;
    if (arrived == int(threads.size())) {
        arrived = 0;
        for (Thread& thread : threads)
            if (thread.line != line && !failed) fail_together("not all threads come to the same barrier");
        make_all_ready();
    }
    suspend();
}
