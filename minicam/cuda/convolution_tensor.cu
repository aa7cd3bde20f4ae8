// Correlation by tensor cores, for compute capability 8.0 and later. See correlation.cu.
//
// The product that the tensor cores work out has the filters as rows and the positions as columns. Chunks of x are [row]
// [16 words of 4 bytes] in shared memory; those of the weights lie there, and already in global memory, as the operands
// of the threads: [32 filters][chunk][part][tile of 16][step of 8 words][thread][4 words]. The copies of a chunk begin
// STAGES - 1 chunks before it is needed.
//
// Sums do not depend on which product has which number, so the numbers are such that both operands are quick to read.
// Thread t of the four that share a row of x takes words 4t ... 4t + 3, one vector, as its elements of two steps: a
// quarter of a warp reads two whole neighbouring rows of 64 bytes, every bank once. Likewise the rows g and g + 8 of the
// tiles 2p and 2p + 1 are the filters 32p + 4g ... + 3, so that a thread ends up with four neighbouring ones.
//
// Definitions: INPUT (float or half_bits), BM, BN, BK (16 floats or 32 halves), WM x WN (of a warp), STAGES, RESIDENT,
// and PARTS: 2 computes with both a TF32 number near each float and the one nearest to what remains. The three products
// that count have the error of float. They are summed from zero for every chunk and added in float, because tensor cores
// cut bits off where they add, always in the same direction (Ootomo and Yokota 2022, "Recovering single precision
// accuracy from Tensor Cores while surpassing the FP32 theoretical peak performance").

constexpr int THREADS = BM / WM * (BN / WN) * 32;
constexpr int VECTORS = 4, VECTOR = 16 / sizeof(INPUT);  // vectors in a row of a chunk, elements in a vector
constexpr int X_COPIES = BM * VECTORS / THREADS, ROWS_AT_ONCE = THREADS / VECTORS;  // X_COPIES: of one thread
constexpr int PART = 32 * VECTORS, GROUP = PART * PARTS;  // vectors: a chunk of 32 filters, both parts of it
constexpr int WEIGHT_COPIES = BN / 32 * GROUP / THREADS;
constexpr int X_STAGE = BM * VECTORS, STAGE = X_STAGE + BN / 32 * GROUP;
constexpr int POSITION_TILES = WM / 8, FILTER_TILES = WN / 16;
constexpr int LINES = 128 / WN, PITCH = WN + 4;  // of sums in shared memory: rows that a warp reads at once, and apart
static_assert(BK == VECTORS * VECTOR && X_STAGE % THREADS == 0 && BN / 32 * GROUP % THREADS == 0 && WN % 32 == 0);
static_assert(BM / WM * (BN / WN) * 16 * PITCH <= STAGES * STAGE * 4, "the sums must fit");

// Two words of x as what the tensor cores multiply. In two parts, the first is cut off rather than rounded: cheaper, and
// the second takes what remains.
struct Step {
    unsigned parts[PARTS][2];
};

__device__ __forceinline__ Step step_of(unsigned first, unsigned second) {
    Step step = {{{first, second}}};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        if (sizeof(INPUT) == 2) continue;
        const float x = __uint_as_float(step.parts[0][i]);
        step.parts[0][i] = PARTS == 2 ? step.parts[0][i] & 0xFFFFE000u : to_tf32(x);
        if (PARTS == 2) step.parts[PARTS - 1][i] = to_tf32(x - __uint_as_float(step.parts[0][i]));
    }
    return step;
}

__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&weights)[4], const unsigned (&x)[2]) {
    if constexpr (sizeof(INPUT) == 2)
        multiply_half(sums, weights, x);
    else
        multiply_tf32(sums, weights, x);
}

// The operands of a warp's filters: of each tile, step and part.
using Filters = unsigned[FILTER_TILES][2][PARTS][4];

// Adds the products of a warp's filters and 8 positions, of both steps of a chunk.
__device__ __forceinline__ void multiply_all(float (&sums)[FILTER_TILES][4], const Filters& filters,
                                             const Step (&steps)[2]) {
    float products[FILTER_TILES][4] = {};
#pragma unroll
    for (int pair = PARTS == 2 ? 2 : 0; pair >= 0; --pair)  // small * large, large * small, large * large
#pragma unroll
        for (int i = 0; i < 2 * FILTER_TILES; ++i) {
            const int step = i / FILTER_TILES, tile = i % FILTER_TILES;
            multiply(PARTS == 2 ? products[tile] : sums[tile], filters[tile][step][pair / 2],
                     steps[step].parts[pair % 2]);
        }
#pragma unroll
    for (int i = 0; i < 4 * FILTER_TILES; ++i)
        if (PARTS == 2) sums[i / 4][i % 4] += products[i / 4][i % 4];
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) correlate(CORRELATION) {
    SHARED_MEMORY(uint4, shared);  // [STAGES][BM rows of x, then BN filters][VECTORS]
    const int number = blockIdx.z / s.splits, split = blockIdx.z % s.splits;
    const Branch branch = CHOOSE(number);
    taps += number * s.taps;
    const int column_tiles = (s.filters + BN - 1) / BN;
    const int first_row = blockIdx.x / column_tiles * BM, first_column = blockIdx.x % column_tiles * BN;
    const int first_chunk = split * s.chunks, chunks = min(s.chunks, chunks_of(s) - first_chunk);

    // Copying: four threads take a row of x.
    Pair pair = pair_of(s, first_chunk * BK + threadIdx.x % VECTORS * VECTOR);
    int4 tap = tap_of(s, taps, pair);
    Origin origins[X_COPIES];
#pragma unroll
    for (int i = 0; i < X_COPIES; ++i) origins[i] = origin_of(s, first_row + threadIdx.x / VECTORS + i * ROWS_AT_ONCE);
    const int group = first_column / 32 + threadIdx.x / GROUP, group_size = chunks_of(s) * GROUP;
    const uint4* weights = reinterpret_cast<const uint4*>(branch.weight) + group * group_size + first_chunk * GROUP +
                           threadIdx.x % GROUP;

    auto fetch = [&](int stage) {
        uint4* place = shared + stage * STAGE + threadIdx.x;
        const INPUT* pixels = x + (tap.z + pair.channel);
        const int rest = (s.channels - pair.channel) * int(sizeof(INPUT));
        if (s.channels % VECTOR == 0) {
#pragma unroll
            for (int i = 0; i < X_COPIES; ++i, place += THREADS)
                copy_async(place, pixels + unsigned(origins[i].index), inside(s, origins[i], tap) ? 16 : 0);
        } else {
#pragma unroll 1
            for (int i = 0; i < X_COPIES; ++i, place += THREADS) {
                Origin origin = origins[0];
#pragma unroll
                for (int j = 1; j < X_COPIES; ++j) origin = i == j ? origins[j] : origin;
                copy_async(place, pixels + unsigned(origin.index), inside(s, origin, tap) ? min(16, rest) : 0);
            }
        }
#pragma unroll
        for (int i = 0; i < WEIGHT_COPIES; ++i, place += THREADS) {
            const int further = i * THREADS / GROUP;
            copy_async(place, weights + further * group_size + i * THREADS % GROUP,
                       32 * (group + further) < s.filters ? 16 : 0);
        }
        weights += GROUP;
        if (advance(s, pair)) tap = tap_of(s, taps, pair);
    };

    // Computing: with g = lane / 4 and t = lane % 4 as in instructions.cu.
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp / (BN / WN) * WM, warp_column = warp % (BN / WN) * WN;
    float sums[POSITION_TILES][FILTER_TILES][4] = {};

#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (stage < chunks) fetch(stage);
        copy_commit();
    }
    for (int chunk = 0; chunk < chunks; ++chunk) {
        copy_wait<STAGES - 2>();
        __syncthreads();  // this chunk is there, and all are done with the last one, whose place the next copies take
        if (chunk + STAGES - 1 < chunks) fetch((chunk + STAGES - 1) % STAGES);
        copy_commit();
        const uint4* stage = shared + chunk % STAGES * STAGE + lane;
        Filters filters;
#pragma unroll
        for (int i = 0; i < 4 * FILTER_TILES; ++i) {
            if (i % 4 / 2 >= PARTS) continue;
            const int tile = i / 4, part = i % 4 / 2, step = i % 2;
            const uint4 words = stage[X_STAGE + (warp_column / 32 + tile / 2) * GROUP + part * PART +
                                      (tile % 2 * 2 + step) * 32];
            unsigned(&to)[4] = filters[tile][step][part];
            to[0] = words.x, to[1] = words.y, to[2] = words.z, to[3] = words.w;
        }
#pragma unroll
        for (int i = 0; i < POSITION_TILES; ++i) {
            const uint4 words = stage[(warp_row + i * 8) * VECTORS];
            const Step steps[2] = {step_of(words.x, words.y), step_of(words.z, words.w)};
            multiply_all(sums[i], filters, steps);
        }
    }

    // Writing: 16 rows of a warp at a time go through shared memory, so that its threads write whole rows.
    __syncthreads();
    float* slab = reinterpret_cast<float*>(shared) + warp * 16 * PITCH;
    const int filter = lane % (WN / 4) * 4;
    Position position = position_of(s, first_row + warp_row + lane / (WN / 4));
#pragma unroll 1
    for (int sixteen = 0; sixteen < WM / 16; ++sixteen) {
#pragma unroll
        for (int i = 0; i < POSITION_TILES; ++i)
#pragma unroll
            for (int j = 0; j < FILTER_TILES; j += 2) {
                if (i / 2 != sixteen) continue;  // a register has no variable number
                const float(&a)[4] = sums[i][j], (&b)[4] = sums[i][j + 1];
                float* place = slab + (i % 2 * 8 + lane % 4 * 2) * PITCH + j * 16 + lane / 4 * 4;
                store(place, Vector<4>{a[0], a[2], b[0], b[2]});
                store(place + PITCH, Vector<4>{a[1], a[3], b[1], b[3]});
            }
        __syncwarp();
#pragma unroll 1
        for (int row = lane / (WN / 4); row < 16; row += 4 * LINES) {
            Vector<4> lines[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) lines[i] = load<4>(slab + (row + i * LINES) * PITCH + filter);
            put_sums(s, branch, partial, position, LINES, first_column + warp_column + filter, lines);
            advance(s, position, 4 * LINES);
        }
        __syncwarp();
    }
}
