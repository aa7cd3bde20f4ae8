// What the kernels of convolution.cu and convolution_tensor.cu share: the operation, where its sums begin and end.
//
//   y[n, i, j, k] = finish(sum over taps t and channels c of
//                          x[n, step_rows i + row_t, step_columns j + column_t, c] weight[t, c, k])
//
// with zeros around x; finish adds bias[k] and added[n, i, j, k], then rectifies, or keeps only what mask[n, i, j, k] > 0
// lets through. It is a matrix product: a row of it is a position m = (n, i, j) of y, a column is a filter k, and what
// it sums over are the pairs (t, c), numbered t * padded + c with the channels of a tap padded to whole vectors of
// 16 bytes. A block computes BM rows of BN columns, BK pairs (a "chunk") at a time. blockIdx.x counts the tiles, those of
// the same rows next to each other so that they share x in the cache; blockIdx.z counts branches, and parts of the
// sum (splits) within each.
//
// Definitions: INPUT (element type of x and weight), BM, BN, BK.

struct Maps {
    Pitches pitches;
    int half;  // whether elements are half_bits, else float
};

struct Correlation {
    int rows, columns, channels, padded;  // of x
    Pitches x;
    int step_rows, step_columns;
    int taps, filters;
    int y_rows, y_columns, positions;
    Maps y, added, mask;
    int rectify;
    int vectors;         // whether four filters of y, added and mask may be accessed at once
    int splits, chunks;  // chunks of one split
};

struct Branch {
    const INPUT* weight;
    const float* bias;  // this and the next may be null
    void* y;
    const void *added, *mask;
};

// A kernel's parameters: it computes up to three correlations of the same x and shapes.
#define BRANCH(i) const INPUT *weight##i, const float *bias##i, void *y##i, const void *added##i, const void *mask##i
#define CORRELATION                                                                                      \
    const Correlation s, const INPUT *__restrict__ x, const int4 *__restrict__ taps, float *partial, BRANCH(0), \
        BRANCH(1), BRANCH(2)
#define CHOOSE(index)                                                \
    (index) == 0   ? Branch{weight0, bias0, y0, added0, mask0}       \
    : (index) == 1 ? Branch{weight1, bias1, y1, added1, mask1}       \
                   : Branch{weight2, bias2, y2, added2, mask2}

// A position m of y.
struct Position {
    int m, sample, row, column;
};

__device__ __forceinline__ Position position_of(const Correlation& s, int m) {
    const int line = m / s.y_columns;
    return {m, line / s.y_rows, line % s.y_rows, m % s.y_columns};
}

__device__ __forceinline__ void advance(const Correlation& s, Position& position, int count) {
    position.m += count;
    position.column += count;
    while (position.column >= s.y_columns) {
        position.column -= s.y_columns;
        if (++position.row == s.y_rows) {
            position.row = 0;
            ++position.sample;
        }
    }
}

// ---- where the sums begin

// The pixel of x that the tap (0, 0) meets at a position. No tap leads from positions that do not exist into x.
struct Origin {
    int row, column, index;
};

__device__ __forceinline__ Origin origin_of(const Correlation& s, int m) {
    if (m >= s.positions) return {-(1 << 30), 0, 0};
    const Position position = position_of(s, m);
    const int row = position.row * s.step_rows, column = position.column * s.step_columns;
    return {row, column, s.x.at(position.sample, row, column)};
}

// tap: its row, its column and where that leads in x, in elements.
__device__ __forceinline__ bool inside(const Correlation& s, const Origin& origin, const int4& tap) {
    return static_cast<unsigned>(origin.row + tap.x) < static_cast<unsigned>(s.rows) &&
           static_cast<unsigned>(origin.column + tap.y) < static_cast<unsigned>(s.columns);
}

struct Pair {
    int tap, channel;
};

__device__ __forceinline__ Pair pair_of(const Correlation& s, int k) { return {k / s.padded, k % s.padded}; }

// To the pair BK further on. Whether it is another tap's.
__device__ __forceinline__ bool advance(const Correlation& s, Pair& pair) {
    pair.channel += BK;
    if (pair.channel < s.padded) return false;
    do {
        pair.channel -= s.padded;
        ++pair.tap;
    } while (pair.channel >= s.padded);
    return true;
}

// One that leads nowhere behind the last.
__device__ __forceinline__ int4 tap_of(const Correlation& s, const int4* taps, const Pair& pair) {
    return pair.tap < s.taps ? taps[pair.tap] : make_int4(-(1 << 30), 0, 0, 0);
}

__device__ __forceinline__ int chunks_of(const Correlation& s) { return (s.taps * s.padded + BK - 1) / BK; }

// ---- where they end

template <int N, int COUNT, typename T>
__device__ __forceinline__ void load_all(Vector<N> (&vectors)[COUNT], const T* from, const int (&places)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
        if (places[i] >= 0) vectors[i] = load<N>(from + places[i]);
}

template <int N, int COUNT, typename T>
__device__ __forceinline__ void store_all(T* to, const int (&places)[COUNT], const Vector<N> (&vectors)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
        if (places[i] >= 0) store(to + places[i], vectors[i]);
}

// N filters at COUNT positions in feature maps.
template <int N, int COUNT> struct Several {
    const Maps& maps;
    int places[COUNT];  // in elements; -1 for positions that do not exist

    __device__ __forceinline__ Several(const Correlation& s, const Maps& of, Position position, int apart, int filter)
        : maps(of) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i, advance(s, position, apart)) {
            const int place = maps.pitches.at(position.sample, position.row, position.column) + filter;
            places[i] = position.m < s.positions ? place : -1;
        }
    }
    // All are read before one is used, so that their ways through memory overlap.
    __device__ __forceinline__ void load(Vector<N> (&vectors)[COUNT], const void* from) const {
        if (maps.half)
            load_all(vectors, static_cast<const half_bits*>(from), places);
        else
            load_all(vectors, static_cast<const float*>(from), places);
    }
    __device__ __forceinline__ void store(void* to, const Vector<N> (&vectors)[COUNT]) const {
        if (maps.half)
            store_all(static_cast<half_bits*>(to), places, vectors);
        else
            store_all(static_cast<float*>(to), places, vectors);
    }
};

// Writes what follows from the sums of N filters at COUNT positions, `apart` from each other.
template <int N, int COUNT>
__device__ __forceinline__ void finish(const Correlation& s, const Branch& branch, const Position& first, int apart,
                                       int filter, Vector<N> (&sums)[COUNT]) {
    Vector<N> others[COUNT] = {}, masks[COUNT] = {}, bias = {};
    if (branch.added) Several<N, COUNT>(s, s.added, first, apart, filter).load(others, branch.added);
    if (branch.mask) Several<N, COUNT>(s, s.mask, first, apart, filter).load(masks, branch.mask);
    if (branch.bias) bias = load<N>(branch.bias + filter);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        add(sums[i], bias);
        add(sums[i], others[i]);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            float& sum = sums[i].of[j];
            if (s.rectify) sum = rectified(sum);
            if (branch.mask) sum = masks[i].of[j] > 0 ? sum : 0;
        }
    }
    Several<N, COUNT>(s, s.y, first, apart, filter).store(branch.y, sums);
}

// The same for four filters, or as many of them as there are.
template <int COUNT>
__device__ __forceinline__ void finish_four(const Correlation& s, const Branch& branch, const Position& first, int apart,
                                            int filter, Vector<4> (&sums)[COUNT]) {
    if (s.vectors && filter + 4 <= s.filters) return finish(s, branch, first, apart, filter, sums);
#pragma unroll 1
    for (int j = 0; j < min(4, s.filters - filter); ++j) {
        Vector<1> one[COUNT];
#pragma unroll
        for (int i = 0; i < 4 * COUNT; ++i)
            if (i % 4 == j) one[i / 4].of[0] = sums[i / 4].of[i % 4];  // a register has no variable number
        finish(s, branch, first, apart, filter + j, one);
    }
}

// Partial sums of splits, (branches * splits, positions, filters padded to 4).
__device__ __forceinline__ float* part(const Correlation& s, float* partial, int split, int m, int filter) {
    return partial + ((split * s.positions + m) * ((s.filters + 3) / 4 * 4) + filter);
}

// What a thread does with sums.
template <int COUNT>
__device__ __forceinline__ void put_sums(const Correlation& s, const Branch& branch, float* partial,
                                         const Position& first, int apart, int filter, Vector<4> (&sums)[COUNT]) {
    if (filter >= s.filters) return;
    if (s.splits == 1) return finish_four(s, branch, first, apart, filter, sums);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        const int m = first.m + i * apart;
        if (m < s.positions) store(part(s, partial, blockIdx.z, m, filter), sums[i]);
    }
}

// Adds the parts of sums that were split, in the order of the splits. A thread per position and four filters.
extern "C" __global__ void __launch_bounds__(256, 4) add_parts(CORRELATION) {
    const int fours = (s.filters + 3) / 4, index = blockIdx.x * blockDim.x + threadIdx.x;
    const int m = index / fours, filter = index % fours * 4;
    if (m >= s.positions) return;
    Vector<4> sums[1] = {load<4>(part(s, partial, blockIdx.z * s.splits, m, filter))};
    for (int split = 1; split < s.splits; ++split)
        add(sums[0], load<4>(part(s, partial, blockIdx.z * s.splits + split, m, filter)));
    finish_four(s, CHOOSE(blockIdx.z), position_of(s, m), 0, filter, sums);
}
