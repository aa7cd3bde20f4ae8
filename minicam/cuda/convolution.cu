// Correlation with plain multiplications and additions in float, for every GPU. See correlation.cu.
//
// weight: (taps * padded, filters padded to 4), zeros where padded. Each thread computes 8 x 8 sums: four neighbouring
// rows and those 16 further on, four columns and those 32 further on. While a block works on a chunk in shared memory,
// the next chunk is on its way in registers.
//
// Definitions: BM and BN (64 or 128), BK (8), RESIDENT (blocks at a time on one processor).

constexpr int THREADS = BM * BN / 64;
constexpr int ROW_VECTORS = BM * BK / 4 / THREADS, COLUMN_VECTORS = BK * BN / 4 / THREADS;  // that a thread copies

// Of shared memory: a chunk of x, transposed, then one of the weights, twice. The 4 floats between rows of x put the 32
// stores of a warp (16 rows m, k and k + 4) into 32 banks: (4 k + m) mod 32.
constexpr int X_PITCH = BM + 4, STAGE = BK * (X_PITCH + BN);

// The first `count` of four numbers, then zeros.
__device__ __forceinline__ Vector<4> first_of(Vector<4> x, int count) {
#pragma unroll
    for (int i = 1; i < 4; ++i) x.of[i] = i < count ? x.of[i] : 0;
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) correlate(CORRELATION) {
    SHARED_MEMORY(float, shared);
    const Branch branch = CHOOSE(blockIdx.z / s.splits);
    taps += blockIdx.z / s.splits * s.taps;
    const int column_tiles = (s.filters + BN - 1) / BN;
    const int first_row = blockIdx.x / column_tiles * BM, first_column = blockIdx.x % column_tiles * BN;
    const int first_chunk = blockIdx.z % s.splits * s.chunks;
    const int chunks = min(first_chunk + s.chunks, chunks_of(s)) - first_chunk;

    // Copying: two threads take the 8 channels of a pixel, BN / 4 threads a row of weights.
    constexpr int ROWS_AT_ONCE = THREADS / 2, PAIRS_AT_ONCE = THREADS / (BN / 4);
    const int x_row = threadIdx.x / 2, x_k = threadIdx.x % 2 * 4;
    const int w_k = threadIdx.x / (BN / 4), w_column = threadIdx.x % (BN / 4) * 4;
    const int w_pitch = (s.filters + 3) / 4 * 4;
    Pair pair = pair_of(s, first_chunk * BK + x_k);
    int4 tap = tap_of(s, taps, pair);
    Origin origins[ROW_VECTORS];
#pragma unroll
    for (int i = 0; i < ROW_VECTORS; ++i) origins[i] = origin_of(s, first_row + x_row + i * ROWS_AT_ONCE);
    Vector<4> next_x[ROW_VECTORS], next_w[COLUMN_VECTORS];

    auto fetch = [&](int chunk) {
#pragma unroll
        for (int i = 0; i < ROW_VECTORS; ++i) {
            next_x[i] = {};
            if (inside(s, origins[i], tap)) {
                const float* pixel = x + (tap.z + pair.channel) + static_cast<unsigned>(origins[i].index);
                next_x[i] = first_of(load<4>(pixel), s.channels - pair.channel);
            }
        }
        if (advance(s, pair)) tap = tap_of(s, taps, pair);
#pragma unroll
        for (int i = 0; i < COLUMN_VECTORS; ++i) {
            const int k = chunk * BK + w_k + i * PAIRS_AT_ONCE, column = first_column + w_column;
            next_w[i] = {};
            if (k < s.taps * s.padded && column < w_pitch)
                next_w[i] = load<4>(branch.weight + k * w_pitch + column);
        }
    };
    auto keep = [&](float* stage) {
#pragma unroll
        for (int i = 0; i < ROW_VECTORS; ++i) {
            float* place = stage + x_k * X_PITCH + x_row + i * ROWS_AT_ONCE;
#pragma unroll
            for (int k = 0; k < 4; ++k) place[k * X_PITCH] = next_x[i].of[k];
        }
#pragma unroll
        for (int i = 0; i < COLUMN_VECTORS; ++i)
            store(stage + BK * X_PITCH + (w_k + i * PAIRS_AT_ONCE) * BN + w_column, next_w[i]);
    };

    // Computing: a warp has 32 x 64 sums, its threads are 4 x 8. A quarter of a warp then reads one vector of x and 8
    // neighbouring vectors of weights from shared memory: no two different words of a bank.
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp / (BN / 64) * 32 + lane / 8 * 4, column = warp % (BN / 64) * 64 + lane % 8 * 4;
    Vector<4> sums[2][2][4] = {};  // of four filters, at four positions each

    fetch(first_chunk);
    keep(shared);
    __syncthreads();
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const float* stage = shared + chunk % 2 * STAGE;
        if (chunk + 1 < chunks) fetch(first_chunk + chunk + 1);
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            const float *x_line = stage + k * X_PITCH + row, *w_line = stage + BK * X_PITCH + k * BN + column;
            const Vector<4> a[2] = {load<4>(x_line), load<4>(x_line + 16)};
            const Vector<4> b[2] = {load<4>(w_line), load<4>(w_line + 32)};
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    float& sum = sums[i / 4][j / 4][i % 4].of[j % 4];
                    sum = fmaf(a[i / 4].of[i % 4], b[j / 4].of[j % 4], sum);
                }
        }
        if (chunk + 1 < chunks) keep(shared + (chunk + 1) % 2 * STAGE);
        __syncthreads();
    }

#pragma unroll 1
    for (int part = 0; part < 8; ++part) {
        Vector<4> two[2];
#pragma unroll
        for (int i = 0; i < 16; ++i)
            if (i / 2 == part) two[i % 2] = sums[i / 8][i / 4 % 2][i % 4];  // a register has no variable number
        const Position position = position_of(s, first_row + row + part / 4 * 16 + part % 2 * 2);
        put_sums(s, branch, partial, position, 1, first_column + column + part / 2 % 2 * 32, two);
    }
}
