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

// ---- where the sums begin

// The pixel of x that the tap (0, 0) meets at position m. No tap leads from positions that do not exist into x.
struct Origin {
    int row, column, index;
};

__device__ __forceinline__ Origin origin_of(const Correlation& s, int m) {
    if (m >= s.positions) return {-(1 << 30), 0, 0};
    const int line = m / s.y_columns;
    const int row = line % s.y_rows * s.step_rows, column = m % s.y_columns * s.step_columns;
    return {row, column, s.x.at(line / s.y_rows, row, column)};
}

// tap: its row, its column and where that leads in x, in elements.
__device__ __forceinline__ bool inside(const Correlation& s, const Origin& origin, const int4& tap) {
    return static_cast<unsigned>(origin.row + tap.x) < static_cast<unsigned>(s.rows) &&
           static_cast<unsigned>(origin.column + tap.y) < static_cast<unsigned>(s.columns);
}

// The pair (tap, channel) of number k.
struct Pair {
    int k, tap, channel;
};

__device__ __forceinline__ Pair pair_of(const Correlation& s, int k) { return {k, k / s.padded, k % s.padded}; }

__device__ __forceinline__ void advance(const Correlation& s, Pair& pair) {
    pair.k += BK;
    pair.channel += BK;
    while (pair.channel >= s.padded) {
        pair.channel -= s.padded;
        ++pair.tap;
    }
}

__device__ __forceinline__ int chunks_of(const Correlation& s) { return (s.taps * s.padded + BK - 1) / BK; }

// ---- where they end

template <int N> __device__ __forceinline__ Vector<N> load(const void* from, const Maps& maps, int index) {
    return maps.half ? load<N>(static_cast<const half_bits*>(from) + index)
                     : load<N>(static_cast<const float*>(from) + index);
}

template <int N>
__device__ __forceinline__ void store(void* to, const Maps& maps, int index, const Vector<N>& vector) {
    if (maps.half)
        store(static_cast<half_bits*>(to) + index, vector);
    else
        store(static_cast<float*>(to) + index, vector);
}

// A position in what is written and in what is read with it, in elements.
struct Place {
    int y, added, mask;
};

__device__ __forceinline__ Place place_of(const Correlation& s, int m) {
    const int column = m % s.y_columns, line = m / s.y_columns, row = line % s.y_rows, sample = line / s.y_rows;
    return {s.y.pitches.at(sample, row, column), s.added.pitches.at(sample, row, column),
            s.mask.pitches.at(sample, row, column)};
}

template <int N>
__device__ __forceinline__ void finish(const Correlation& s, const Branch& branch, const Place& place, int filter,
                                       Vector<N> sum) {
    if (branch.bias) add(sum, load<N>(branch.bias + filter));
    if (branch.added) add(sum, load<N>(branch.added, s.added, place.added + filter));
#pragma unroll
    for (int i = 0; i < N; ++i) sum.of[i] = s.rectify ? rectified(sum.of[i]) : sum.of[i];
    if (branch.mask) {
        const Vector<N> mask = load<N>(branch.mask, s.mask, place.mask + filter);
#pragma unroll
        for (int i = 0; i < N; ++i) sum.of[i] = mask.of[i] > 0 ? sum.of[i] : 0;
    }
    store(branch.y, s.y, place.y + filter, sum);
}

// Four filters, or as many of them as there are.
__device__ __forceinline__ void finish_four(const Correlation& s, const Branch& branch, const Place& place, int filter,
                                            const Vector<4>& sums) {
    if (s.vectors && filter + 4 <= s.filters) return finish(s, branch, place, filter, sums);
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (filter + i < s.filters) finish(s, branch, place, filter + i, Vector<1>{sums.of[i]});
}

// The partial sums of a split, (branches * splits, positions, filters padded to 4).
__device__ __forceinline__ float* part(const Correlation& s, float* partial, int split, int m, int filter) {
    return partial + ((split * s.positions + m) * ((s.filters + 3) / 4 * 4) + filter);
}

// What a thread does with its sums.
__device__ __forceinline__ void put_sums(const Correlation& s, const Branch& branch, float* partial, const Place& place,
                                         int m, int filter, const Vector<4>& sums) {
    if (m >= s.positions || filter >= s.filters) return;
    if (s.splits > 1)
        store(part(s, partial, blockIdx.z, m, filter), sums);
    else
        finish_four(s, branch, place, filter, sums);
}

// Adds the parts of sums that were split, in the order of the splits. A thread per position and four filters.
extern "C" __global__ void __launch_bounds__(256, 4) add_parts(CORRELATION) {
    const int fours = (s.filters + 3) / 4, index = blockIdx.x * blockDim.x + threadIdx.x;
    const int m = index / fours, filter = index % fours * 4;
    if (m >= s.positions) return;
    Vector<4> sums = load<4>(part(s, partial, blockIdx.z * s.splits, m, filter));
    for (int split = 1; split < s.splits; ++split)
        add(sums, load<4>(part(s, partial, blockIdx.z * s.splits + split, m, filter)));
    finish_four(s, CHOOSE(blockIdx.z), place_of(s, m), filter, sums);
}
