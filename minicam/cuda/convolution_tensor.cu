// Correlation by tensor cores, for compute capability 8.0 and later. See correlation.cu.
//
// weight: (filters, taps, padded). Chunks of x and of the weights are [row][16 words of 4 bytes] in shared memory, and
// the first copies of chunk STAGES - 1 ahead start before a chunk is computed.
//
// Sums do not depend on which product has which number, so the tensor cores are given what is quick to read: thread t
// of the four that share a row takes words 4t ... 4t + 3, one vector, as its elements of two steps of 8 words. A
// quarter of a warp then reads two whole neighbouring rows of 64 bytes: every bank once, without padding. The filters of
// the 8 columns are chosen so that a thread ends up with four neighbouring ones: column 2t + e of the tiles 2p and
// 2p + 1 is filter 16p + 4t + e and 16p + 4t + 2 + e.
//
// Definitions: INPUT (float or half_bits), BM, BN, BK (16 floats or 32 halves), WM x WN (of a warp), STAGES, RESIDENT,
// and PARTS: 2 computes with both the TF32 numbers nearest to the floats and those nearest to what remains. The three
// products that count have the error of float. They are summed from zero for every chunk and added in float, because
// tensor cores cut bits off where they add, always in the same direction (Ootomo and Yokota 2022, "Recovering single
// precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak performance").

constexpr int THREADS = BM / WM * (BN / WN) * 32;
constexpr int VECTORS = 4, VECTOR = 16 / sizeof(INPUT);  // vectors in a row of a chunk, elements in a vector
constexpr int ROWS_AT_ONCE = THREADS / VECTORS;          // that the threads copy
constexpr int STAGE = (BM + BN) * VECTORS;               // vectors
constexpr int ROW_TILES = WM / 16, COLUMN_TILES = WN / 8;
constexpr int LINES = 128 / WN, PITCH = WN + 16;  // of sums in shared memory: rows that a warp reads at once, and apart
static_assert(BK == VECTORS * VECTOR && BM % ROWS_AT_ONCE == 0 && BN % ROWS_AT_ONCE == 0 && COLUMN_TILES % 2 == 0);

// One thread's words of a row, as operands: of[part][step][0 and 1] are the elements t and t + 4 of a step.
struct Words {
    unsigned of[PARTS][2][2];
};

template <bool round> __device__ __forceinline__ Words words_of(const uint4& vector) {
    const unsigned words[4] = {vector.x, vector.y, vector.z, vector.w};
    Words result;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        unsigned word = words[i];
        if (round || PARTS == 2) {
            const float x = __uint_as_float(word);
            word = to_tf32(x);
            if (PARTS == 2) result.of[PARTS - 1][i / 2][i % 2] = to_tf32(x - __uint_as_float(word));
        }
        result.of[0][i / 2][i % 2] = word;
    }
    return result;
}

// sums += the products of 16 rows (`above`: row g, `below`: row g + 8 of each thread) and 8 columns, of 8 words.
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&above)[2], const unsigned (&below)[2],
                                         const unsigned (&column)[2]) {
    const unsigned rows[4] = {above[0], below[0], above[1], below[1]};
    if constexpr (sizeof(INPUT) == 2)
        multiply_half(sums, rows, column);
    else
        multiply_tf32(sums, rows, column);
}

// Adds the products of 16 rows and all columns of a warp.
__device__ __forceinline__ void multiply_row(float (&sums)[COLUMN_TILES][4], const Words& above, const Words& below,
                                             const Words (&columns)[COLUMN_TILES]) {
    if constexpr (PARTS == 1) {
#pragma unroll
        for (int step = 0; step < 2; ++step)
#pragma unroll
            for (int j = 0; j < COLUMN_TILES; ++j)
                multiply(sums[j], above.of[0][step], below.of[0][step], columns[j].of[0][step]);
        return;
    }
    float products[COLUMN_TILES][4] = {};
#pragma unroll
    for (int pair = 2; pair >= 0; --pair)  // small * large, large * small, large * large
#pragma unroll
        for (int step = 0; step < 2; ++step)
#pragma unroll
            for (int j = 0; j < COLUMN_TILES; ++j)
                multiply(products[j], above.of[pair / 2][step], below.of[pair / 2][step], columns[j].of[pair % 2][step]);
#pragma unroll
    for (int j = 0; j < COLUMN_TILES; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[j][i] += products[j][i];
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) correlate(CORRELATION) {
    SHARED_MEMORY(uint4, shared);  // [STAGES][BM rows of x, then BN filters][VECTORS]
    const int number = blockIdx.z / s.splits, split = blockIdx.z % s.splits;
    const Branch branch = CHOOSE(number);
    taps += number * s.taps;
    const int column_tiles = (s.filters + BN - 1) / BN;
    const int first_row = blockIdx.x / column_tiles * BM, first_column = blockIdx.x % column_tiles * BN;
    const int first_chunk = split * s.chunks, chunks = min(s.chunks, chunks_of(s) - first_chunk);
    const int reduction = s.taps * s.padded;

    // Copying: four threads take a row of a chunk.
    const int copy_row = threadIdx.x / VECTORS, copy_vector = threadIdx.x % VECTORS;
    Pair pair = pair_of(s, first_chunk * BK + copy_vector * VECTOR);
    Origin origins[BM / ROWS_AT_ONCE];
#pragma unroll
    for (int i = 0; i < BM / ROWS_AT_ONCE; ++i) origins[i] = origin_of(s, first_row + copy_row + i * ROWS_AT_ONCE);

    auto fetch = [&](int stage) {
        uint4* place = shared + stage * STAGE + copy_row * VECTORS + copy_vector;
        const bool exists = pair.k < reduction;
        const int4 tap = exists ? taps[pair.tap] : make_int4(-(1 << 30), 0, 0, 0);
        const int bytes = min(16, (s.channels - pair.channel) * int(sizeof(INPUT)));
#pragma unroll
        for (int i = 0; i < BM / ROWS_AT_ONCE; ++i, place += THREADS) {
            const bool there = inside(s, origins[i], tap);
            copy_async(place, there ? x + origins[i].index + tap.z + pair.channel : x, there ? bytes : 0);
        }
#pragma unroll
        for (int i = 0; i < BN / ROWS_AT_ONCE; ++i, place += THREADS) {
            const int filter = first_column + copy_row + i * ROWS_AT_ONCE;
            const bool there = exists && filter < s.filters;
            copy_async(place, there ? branch.weight + filter * reduction + pair.k : branch.weight, there ? 16 : 0);
        }
        advance(s, pair);
    };

    // Computing: a thread is the t-th of the four that share row and column g of the warp's tiles.
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int warp_row = warp / (BN / WN) * WM, warp_column = warp % (BN / WN) * WN;
    float sums[ROW_TILES][COLUMN_TILES][4] = {};

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
        const uint4* rows = shared + chunk % STAGES * STAGE + (warp_row + g) * VECTORS + t;
        const uint4* filters = shared + chunk % STAGES * STAGE + (BM + warp_column + g / 2 * 4 + g % 2) * VECTORS + t;
        Words columns[COLUMN_TILES];
#pragma unroll
        for (int j = 0; j < COLUMN_TILES; ++j)
            columns[j] = words_of<false>(filters[(j / 2 * 16 + j % 2 * 2) * VECTORS]);
#pragma unroll
        for (int i = 0; i < ROW_TILES; ++i)
            multiply_row(sums[i], words_of<sizeof(INPUT) == 4>(rows[i * 16 * VECTORS]),
                         words_of<sizeof(INPUT) == 4>(rows[(i * 16 + 8) * VECTORS]), columns);
    }

    // Writing: 16 rows of a warp at a time go through shared memory, so that its threads write whole rows.
    __syncthreads();
    float* slab = reinterpret_cast<float*>(shared) + warp * 16 * PITCH;
    const int filter = first_column + warp_column + lane % (WN / 4) * 4;
    Position position = position_of(s, first_row + warp_row + lane / (WN / 4));
#pragma unroll 1
    for (int tile = 0; tile < ROW_TILES; ++tile) {
#pragma unroll
        for (int i = 0; i < ROW_TILES; ++i)
#pragma unroll
            for (int j = 0; j < COLUMN_TILES; ++j) {
                if (i != tile) continue;  // a register has no variable number
                const float(&sum)[4] = sums[i][j];
                float* place = slab + g * PITCH + j / 2 * 16 + j % 2 * 2 + 4 * t;
                store(place, Vector<2>{sum[0], sum[1]});
                store(place + 8 * PITCH, Vector<2>{sum[2], sum[3]});
            }
        __syncwarp();
#pragma unroll 1
        for (int row = lane / (WN / 4); row < 16; row += 4 * LINES) {
            Vector<4> lines[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) lines[i] = load<4>(slab + (row + i * LINES) * PITCH + lane % (WN / 4) * 4);
            put_sums(s, branch, partial, position, LINES, filter, lines);
            advance(s, position, 4 * LINES);
        }
        __syncwarp();
    }
}
