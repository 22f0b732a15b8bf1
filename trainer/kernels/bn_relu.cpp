// Train-mode BatchNorm + optional residual + optional ReLU over a dense [rows, channels] matrix:
// the NHWC view of an image batch. Plain C interface, no torch headers: compiles in seconds and
// does not depend on torch's ABI.
//
// Rows are cut into blocks that fit the first-level cache. Sums are taken inside a block in fp32
// and combined over blocks in double, in block order: results do not depend on the thread count.
// All functions are pure in their inputs; the caller allocates every output.

#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t LANES = 16;
using Vec = float __attribute__((vector_size(64)));
using IntVec = int32_t __attribute__((vector_size(64)));
using UIntVec = uint32_t __attribute__((vector_size(64)));
using HalfVec = uint16_t __attribute__((vector_size(32)));
struct bf16 {
  uint16_t bits;
};

inline Vec widen(HalfVec half) {
  return (Vec)(__builtin_convertvector(half, UIntVec) << 16);
}

// Round to nearest even; a NaN becomes the quiet NaN that torch writes.
inline HalfVec narrow(Vec value) {
#if defined(__AVX512BF16__)
  return (HalfVec)_mm512_cvtneps_pbh((__m512)value);
#else
  UIntVec bits = (UIntVec)value;
  UIntVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  UIntVec quiet = UIntVec{} + 0x7fc0u;
  return __builtin_convertvector((UIntVec)(value == value ? rounded : quiet), HalfVec);
#endif
}

// Loads and stores of n lanes; a full vector is one instruction, for which n is known at compile
// time (`Full`), the last group of a channel count that is no multiple of 16 goes by copies.
struct Full {
  operator int64_t() const { return LANES; }
};
inline Vec load(const float* from, Full) {
  Vec value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline Vec load(const bf16* from, Full) {
  HalfVec half;
  std::memcpy(&half, from, sizeof half);
  return widen(half);
}
inline void store(float* to, Vec value, Full) { std::memcpy(to, &value, sizeof value); }
inline void store(bf16* to, Vec value, Full) {
  HalfVec half = narrow(value);
  std::memcpy(to, &half, sizeof half);
}
template <class T>
inline Vec load(const T* from, int64_t n) {
  T lanes[LANES] = {};
  std::memcpy(lanes, from, n * sizeof(T));
  return load(lanes, Full());
}
template <class T>
inline void store(T* to, Vec value, int64_t n) {
  T lanes[LANES];
  store(lanes, value, Full());
  std::memcpy(to, lanes, n * sizeof(T));
}

// One bit for each lane; lanes of `chosen` are all ones or all zeros.
inline uint16_t pack(IntVec chosen) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  return _mm512_movepi32_mask((__m512i)chosen);
#else
  uint16_t bits = 0;
  for (int i = 0; i < LANES; ++i) bits |= (chosen[i] & 1) << i;
  return bits;
#endif
}
inline Vec keep(Vec value, uint16_t bits) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  return (Vec)_mm512_maskz_mov_ps(bits, (__m512)value);
#else
  const IntVec place = {1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                        1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  return ((IntVec{} + bits) & place) != 0 ? value : Vec{};  // a select: 0 * NaN would be NaN
#endif
}

struct Blocks {
  int64_t rows, channels, groups, per_block, count;
  Blocks(int64_t rows, int64_t channels)
      : rows(rows), channels(channels), groups((channels + LANES - 1) / LANES) {
    per_block = 4096 / channels > 32 ? 4096 / channels : 32;
    count = (rows + per_block - 1) / per_block;
  }
  int64_t begin(int64_t block) const { return block * per_block; }
  int64_t end(int64_t block) const {
    return begin(block) + per_block < rows ? begin(block) + per_block : rows;
  }
  // f(first channel, lanes) for each group of channels.
  template <class F>
  void each_group(F f) const {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) f(c, Full());
    if (c < channels) f(c, channels - c);
  }
};

// Mean and sum of squared deviations of each channel. One pass: sums of d and d² about a center
// near the mean (that of the first rows), so that a large mean does not cancel the variance away.
template <class T>
void block_moments(const Blocks& s, int64_t block, const T* y, float* mean, float* m2) {
  const int64_t begin = s.begin(block), end = s.end(block);
  const int64_t sample = end - begin < 8 ? end - begin : 8;
  s.each_group([&](int64_t c, auto n) {
    auto at = [&](int64_t r) { return load(y + r * s.channels + c, n); };
    Vec center{};
    for (int64_t r = begin; r < begin + sample; ++r) center += at(r);
    center /= (float)sample;
    Vec sum[4] = {}, square[4] = {};  // four chains hide the latency of an addition
    auto add = [&](int64_t r, int chain) {
      const Vec d = at(r) - center;
      sum[chain] += d;
      square[chain] += d * d;
    };
    int64_t r = begin;
    for (; r + 4 <= end; r += 4) add(r, 0), add(r + 1, 1), add(r + 2, 2), add(r + 3, 3);
    for (; r < end; ++r) add(r, 0);
    const Vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    const Vec squares = (square[0] + square[1]) + (square[2] + square[3]);
    const Vec shift = total / (float)(end - begin);
    const Vec spread = squares - total * shift;
    store(mean + c, center + shift, n);
    store(m2 + c, spread < 0.0f ? Vec{} : spread, n);  // rounding, where all values are equal
  });
}

// Chan's update: moments of all rows from the blocks' moments, in block order.
void merge_moments(const Blocks& s, const float* part, double* mean, double* m2) {
  const int64_t c_ = s.channels;
  for (int64_t c = 0; c < c_; ++c) mean[c] = m2[c] = 0;
  for (int64_t b = 0; b < s.count; ++b) {
    const double before = s.begin(b), here = s.end(b) - s.begin(b), total = before + here;
    const float *block_mean = part + 2 * b * c_, *block_m2 = block_mean + c_;
    for (int64_t c = 0; c < c_; ++c) {
      const double delta = block_mean[c] - mean[c];
      mean[c] += delta * (here / total);
      m2[c] += block_m2[c] + delta * delta * (before * here / total);
    }
  }
}

template <class T, bool RELU, bool RES>
void apply_block(const Blocks& s, int64_t block, const T* y, const T* res, const float* scale,
                 const float* shift, T* z, uint16_t* mask) {
  s.each_group([&](int64_t c, auto n) {
    const Vec by_y = load(scale + c, n), constant = load(shift + c, n);
    for (int64_t r = s.begin(block); r < s.end(block); ++r) {
      const int64_t at = r * s.channels + c;
      Vec v = load(y + at, n) * by_y + constant;
      if (RES) v += load(res + at, n);
      if (RELU) {
        const IntVec negative = v <= 0.0f;  // false for a NaN, which therefore passes, as in torch
        v = negative ? Vec{} : v;
        if (mask) mask[r * s.groups + c / LANES] = pack(~negative);
      }
      store(z + at, v, n);
    }
  });
}

template <class T>
void apply(const Blocks& s, const T* y, const T* res, const float* scale, const float* shift,
           bool relu, T* z, uint16_t* mask, int threads) {
  auto* f = relu ? (res ? apply_block<T, true, true> : apply_block<T, true, false>)
                 : (res ? apply_block<T, false, true> : apply_block<T, false, false>);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < s.count; ++b) f(s, b, y, res, scale, shift, z, mask);
}

template <class T>
void moments(const Blocks& s, const T* y, double* mean, double* m2, int threads) {
  std::vector<float> part(2 * s.count * s.channels);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < s.count; ++b) {
    float* at = part.data() + 2 * b * s.channels;
    block_moments(s, b, y, at, at + s.channels);
  }
  merge_moments(s, part.data(), mean, m2);
}

// Sums of g and of g·(y − mean), where g is the gradient behind the ReLU; g is kept if asked for.
template <class T, bool RELU, bool KEEP>
void reduce_block(const Blocks& s, int64_t block, const T* dz, const T* y, const uint16_t* mask,
                  const float* mean, T* g_out, float* sum_g, float* sum_gy) {
  s.each_group([&](int64_t c, auto n) {
    const Vec center = load(mean + c, n);
    Vec total[2] = {}, other[2] = {};
    auto add = [&](int64_t r, Vec* sums) {
      const int64_t at = r * s.channels + c;
      Vec g = load(dz + at, n);
      if (RELU) g = keep(g, mask[r * s.groups + c / LANES]);
      if (KEEP) store(g_out + at, g, n);
      sums[0] += g;
      sums[1] += g * (load(y + at, n) - center);
    };
    int64_t r = s.begin(block);
    for (; r + 2 <= s.end(block); r += 2) add(r, total), add(r + 1, other);
    if (r < s.end(block)) add(r, total);
    store(sum_g + c, total[0] + other[0], n);
    store(sum_gy + c, total[1] + other[1], n);
  });
}

template <class T>
void reduce(const Blocks& s, const T* dz, const T* y, const uint16_t* mask, const float* mean,
            T* g_out, double* sum_g, double* sum_gy, int threads) {
  auto* f = mask ? (g_out ? reduce_block<T, true, true> : reduce_block<T, true, false>)
                 : (g_out ? reduce_block<T, false, true> : reduce_block<T, false, false>);
  std::vector<float> part(2 * s.count * s.channels);
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < s.count; ++b) {
    float* at = part.data() + 2 * b * s.channels;
    f(s, b, dz, y, mask, mean, g_out, at, at + s.channels);
  }
  for (int64_t c = 0; c < s.channels; ++c) sum_g[c] = sum_gy[c] = 0;
  for (int64_t b = 0; b < s.count; ++b)
    for (int64_t c = 0; c < s.channels; ++c) {
      sum_g[c] += part[2 * b * s.channels + c];
      sum_gy[c] += part[(2 * b + 1) * s.channels + c];
    }
}

// dy = by_g·g + by_y·(y − mean) + constant, for each channel.
template <class T, bool RELU>
void input_block(const Blocks& s, int64_t block, const T* g_in, const T* y, const uint16_t* mask,
                 const float* mean, const float* by_g, const float* by_y, const float* constant,
                 T* dy) {
  s.each_group([&](int64_t c, auto n) {
    const Vec center = load(mean + c, n), a = load(by_g + c, n), b = load(by_y + c, n);
    const Vec rest = load(constant + c, n);
    for (int64_t r = s.begin(block); r < s.end(block); ++r) {
      const int64_t at = r * s.channels + c;
      Vec g = load(g_in + at, n);
      if (RELU) g = keep(g, mask[r * s.groups + c / LANES]);
      store(dy + at, a * g + (b * (load(y + at, n) - center) + rest), n);
    }
  });
}

template <class T>
void forward(int64_t rows, int64_t channels, const T* y, const T* res, const float* gamma,
             const float* beta, float eps, float momentum, float* running_mean,
             float* running_var, bool relu, T* z, uint16_t* mask, float* mean, float* invstd,
             int threads) {
  const Blocks s(rows, channels);
  std::vector<double> mu(channels), m2(channels);
  std::vector<float> scale(channels), shift(channels);
  moments(s, y, mu.data(), m2.data(), threads);
  for (int64_t c = 0; c < channels; ++c) {
    mean[c] = (float)mu[c];
    invstd[c] = (float)(1.0 / __builtin_sqrt(m2[c] / rows + eps));
    scale[c] = invstd[c] * gamma[c];
    shift[c] = beta[c] - mean[c] * scale[c];
    // As in torch: the batch is normalised by the biased variance, the running one is unbiased.
    running_mean[c] += momentum * (mean[c] - running_mean[c]);
    running_var[c] += momentum * ((float)(m2[c] / (rows - 1)) - running_var[c]);
  }
  apply(s, y, res, scale.data(), shift.data(), relu, z, mask, threads);
}

template <class T>
void backward(int64_t rows, int64_t channels, const T* dz, const T* y, const uint16_t* mask,
              const float* gamma, const float* mean, const float* invstd, T* d_res, T* dy,
              float* d_gamma, float* d_beta, int threads) {
  const Blocks s(rows, channels);
  std::vector<double> sum_g(channels), sum_gy(channels);
  reduce(s, dz, y, mask, mean, d_res, sum_g.data(), sum_gy.data(), threads);
  std::vector<float> by_g(channels), by_y(channels), constant(channels);
  for (int64_t c = 0; c < channels; ++c) {
    d_beta[c] = (float)sum_g[c];
    d_gamma[c] = (float)(sum_gy[c] * invstd[c]);
    by_g[c] = gamma[c] * invstd[c];
    by_y[c] = (float)(-(double)by_g[c] * invstd[c] * invstd[c] * sum_gy[c] / rows);
    constant[c] = (float)(-(double)by_g[c] * sum_g[c] / rows);
  }
  if (!dy) return;
  const T* g = d_res ? d_res : dz;  // already masked in d_res
  auto* f = mask && !d_res ? input_block<T, true> : input_block<T, false>;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < s.count; ++b)
    f(s, b, g, y, mask, mean, by_g.data(), by_y.data(), constant.data(), dy);
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

#define INTERFACE(T, NAME)                                                                        \
  EXPORT void forward_##NAME(int64_t rows, int64_t channels, const T* y, const T* res,            \
                             const float* gamma, const float* beta, float eps, float momentum,    \
                             float* running_mean, float* running_var, int relu, T* z,             \
                             uint16_t* mask, float* mean, float* invstd, int threads) {           \
    forward(rows, channels, y, res, gamma, beta, eps, momentum, running_mean, running_var,        \
            relu != 0, z, mask, mean, invstd, threads);                                           \
  }                                                                                               \
  EXPORT void backward_##NAME(int64_t rows, int64_t channels, const T* dz, const T* y,            \
                              const uint16_t* mask, const float* gamma, const float* mean,        \
                              const float* invstd, T* d_res, T* dy, float* d_gamma,               \
                              float* d_beta, int threads) {                                       \
    backward(rows, channels, dz, y, mask, gamma, mean, invstd, d_res, dy, d_gamma, d_beta,        \
             threads);                                                                            \
  }                                                                                               \
  EXPORT void apply_##NAME(int64_t rows, int64_t channels, const T* y, const T* res,              \
                           const float* scale, const float* shift, int relu, T* z, int threads) { \
    apply(Blocks(rows, channels), y, res, scale, shift, relu != 0, z, nullptr, threads);          \
  }

INTERFACE(float, float32)
INTERFACE(bf16, bfloat16)
