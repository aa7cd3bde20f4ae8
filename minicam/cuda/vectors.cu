// Feature maps (samples, rows, columns, channels) in memory, read and written N neighbouring channels at a time.

struct Sizes {
    int samples, rows, columns, channels;
};

struct Pitches {  // elements from one sample, row and pixel to the next; 0 repeats
    int sample, row, pixel;

    __device__ int at(int n, int r, int c) const { return n * sample + r * row + c * pixel; }
};

template <int N> struct Vector {
    float of[N];
};

template <typename T, int N> struct alignas(N * sizeof(T)) Packed {  // one load or store
    T of[N];
};

template <int N, typename T> __device__ Vector<N> load(const T* from) {
    const Packed<T, N> packed = *reinterpret_cast<const Packed<T, N>*>(from);
    Vector<N> vector;
#pragma unroll
    for (int j = 0; j < N; ++j) vector.of[j] = value(packed.of[j]);
    return vector;
}

template <int N, typename T> __device__ void store(T* to, const Vector<N>& vector) {
    Packed<T, N> packed;
#pragma unroll
    for (int j = 0; j < N; ++j) store(&packed.of[j], vector.of[j]);
    *reinterpret_cast<Packed<T, N>*>(to) = packed;
}

// Of the vector only the first `count` elements: what lies behind the last channel is not touched.
template <int N, typename T> __device__ void store(T* to, const Vector<N>& vector, int count) {
    if (count >= N) return store(to, vector);
#pragma unroll
    for (int j = 0; j < N; ++j)
        if (j < count) store(to + j, vector.of[j]);
}

template <int N> __device__ void add(Vector<N>& sum, const Vector<N>& vector) {
#pragma unroll
    for (int j = 0; j < N; ++j) sum.of[j] += vector.of[j];
}

// What a thread works on: `channel` and the N - 1 after it, as far as there are such, at a position. The grid is from
// `item_grid` in arguments.py; threads whose column lies outside have nothing to do.
struct Item {
    int sample, row, column, channel;
};

template <int N> __device__ Item item_of(const Sizes& sizes, int channels) {
    const int groups = (channels + N - 1) / N;
    const int i = int(blockIdx.y * blockDim.x + threadIdx.x);
    return {int(blockIdx.x) / sizes.rows, int(blockIdx.x) % sizes.rows, i / groups, i % groups * N};
}

__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }

// max(x, 0); NaN stays NaN.
__device__ inline float rectified(float x) { return x < 0 ? 0 : x; }

// The o with 0 <= i - stride o < taps that lie in an axis of that size: first to last, none if first > last.
struct Reach {
    int first, last;
};

__device__ inline Reach reach(int i, int taps, int stride, int size) {
    return {i < taps ? 0 : (i - taps) / stride + 1, i < 0 ? -1 : min(i / stride, size - 1)};
}
