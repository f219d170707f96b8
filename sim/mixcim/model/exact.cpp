// Exact integer arithmetic of RUNs that are not floating: windows times weights, and sums to codes.
//
// All sums are modulo 2**32, as accumulators are, so no order of additions matters. Windows and weights are taken as
// 16-bit integers, two rows at a time: one instruction multiplies a pair of a window's rows with the weights of 16
// kernels and adds both products. A block of sums stays in registers while it goes through all rows.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if !defined(MIXCIM_PORTABLE) && (defined(__AVX512BW__) || defined(__AVX2__))
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;                 // kernels of a vector
constexpr int BLOCK = 16;                 // vectors of sums that are worked on at a time
constexpr int64_t PART_BYTES = 1 << 17;   // of windows in 16 bits that are taken through all kernels, about

typedef int32_t Sums __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));
typedef uint8_t Codes __attribute__((vector_size(16)));
typedef int16_t Weights __attribute__((vector_size(64)));  // [lane][row of the pair]

// sums[lane] + pair[0] * weights[lane][0] + pair[1] * weights[lane][1]; `pair`: two int16.
inline Sums multiply_add(const Sums& sums, int32_t pair, const Weights& weights) {
#if !defined(MIXCIM_PORTABLE) && defined(__AVX512BW__)
    const __m512i rows = _mm512_set1_epi32(pair);
#if defined(__AVX512VNNI__)
    return (Sums)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)weights, rows);
#else
    return (Sums)_mm512_add_epi32((__m512i)sums, _mm512_madd_epi16((__m512i)weights, rows));
#endif
#elif !defined(MIXCIM_PORTABLE) && defined(__AVX2__)
    Sums result;
    for (int half = 0; half < 2; ++half) {
        __m256i old, part;
        std::memcpy(&old, reinterpret_cast<const char*>(&sums) + 32 * half, 32);
        std::memcpy(&part, reinterpret_cast<const char*>(&weights) + 32 * half, 32);
        old = _mm256_add_epi32(old, _mm256_madd_epi16(part, _mm256_set1_epi32(pair)));
        std::memcpy(reinterpret_cast<char*>(&result) + 32 * half, &old, 32);
    }
    return result;
#else
    int16_t rows[2];
    std::memcpy(rows, &pair, 4);
    Sums result;
    for (int lane = 0; lane < LANES; ++lane)
        result[lane] = int32_t(uint32_t(sums[lane]) + uint32_t(rows[0] * weights[2 * lane]) +
                               uint32_t(rows[1] * weights[2 * lane + 1]));
    return result;
#endif
}

// `windows`: int16 (WINDOWS, 2 * pairs); `weights`: (VECTORS, pairs); `sums`: of the first `count` windows, int32, one
// every `kernels`, `wanted` of each.
template <int WINDOWS, int VECTORS>
void multiply_block(const int16_t* windows, int64_t pairs, const Weights* weights, int32_t* sums, int64_t kernels,
                    int count, int wanted) {
    Sums block[WINDOWS][VECTORS] = {};
    for (int64_t pair = 0; pair < pairs; ++pair)
#pragma GCC unroll 16
        for (int window = 0; window < WINDOWS; ++window) {
            int32_t rows;
            std::memcpy(&rows, windows + 2 * (window * pairs + pair), 4);
#pragma GCC unroll 2
            for (int vector = 0; vector < VECTORS; ++vector)
                block[window][vector] = multiply_add(block[window][vector], rows, weights[vector * pairs + pair]);
        }
    for (int window = 0; window < count; ++window)
        std::memcpy(sums + window * kernels, block[window], wanted * sizeof(int32_t));
}

template <typename Integer>
void multiply(const Integer* windows, int64_t count, int64_t length, const Weights* weights, int64_t kernels,
              int32_t* sums) {
    const int64_t pairs = (length + 1) / 2, vectors = (kernels + LANES - 1) / LANES;
    const int64_t part = std::max<int64_t>(1, PART_BYTES / (4 * pairs * BLOCK)) * BLOCK;
    std::vector<int16_t> wide(2 * pairs * part);  // zeros behind the last row
    for (int64_t first = 0; first < count; first += part) {
        const int64_t here = std::min(part, count - first);
        for (int64_t window = 0; window < here; ++window)
            std::copy_n(windows + (first + window) * length, length, &wide[2 * pairs * window]);
        for (int64_t vector = 0; vector < vectors; vector += 2) {
            const bool two = vector + 1 < vectors;
            const int block = two ? BLOCK / 2 : BLOCK;
            const int wanted = std::min<int64_t>(2 * LANES, kernels - vector * LANES);
            for (int64_t window = 0; window < here; window += block) {
                const auto multiply_it = two ? multiply_block<BLOCK / 2, 2> : multiply_block<BLOCK, 1>;
                multiply_it(&wide[2 * pairs * window], pairs, weights + vector * pairs,
                            sums + (first + window) * kernels + vector * LANES, kernels,
                            std::min<int64_t>(block, here - window), wanted);
            }
        }
    }
}

// Codes of sums with their bias, of 16 kernels. Limits and zero point are whole numbers, so it is the same to limit first;
// then adding 1.5 * 2**23 rounds to the nearest even integer and leaves it in the low bits.
struct Requantiser {
    float lowest, highest;  // of the scaled sum
    int32_t zero_point;

    Codes codes(const Sums& biased, const Floats& scale) const {
        const Floats one_and_a_half = Floats{} + 12582912.0f;
        Floats value = __builtin_convertvector(biased, Floats) * scale;
        value = value < lowest ? Floats{} + lowest : value;
        value = value > highest ? Floats{} + highest : value;
        const Sums rounded = (Sums)(value + one_and_a_half) - (Sums)one_and_a_half;
        return __builtin_convertvector(rounded + zero_point, Codes);
    }
};

}  // namespace

// windows uint8 or int16 (count, length), by `bytes`; weights int16 (vectors of 16 kernels, pairs of rows, 16, 2), 0 where
// there is no kernel or row, 64-byte aligned; sums int32 (count, kernels) are overwritten.
extern "C" __attribute__((visibility("default"))) void mixcim_multiply(const void* windows, int32_t bytes, int64_t count,
                                                                      int64_t length, const void* weights,
                                                                      int64_t kernels, int32_t* sums) {
    const Weights* ordered = static_cast<const Weights*>(weights);
    if (bytes == 1) multiply(static_cast<const uint8_t*>(windows), count, length, ordered, kernels, sums);
    else multiply(static_cast<const int16_t*>(windows), count, length, ordered, kernels, sums);
}

// sums int32 (count, kernels); bias int32 and scale float32 (vectors of 16 kernels, 16), aligned; codes uint8 (count,
// kernels) are overwritten.
extern "C" __attribute__((visibility("default"))) void mixcim_requantise(const int32_t* sums, int64_t count,
                                                                        int64_t kernels, const void* bias,
                                                                        const void* scale, int32_t zero_point, int32_t low,
                                                                        int32_t high, uint8_t* codes) {
    const Requantiser requantiser{float(low - zero_point), float(high - zero_point), zero_point};
    const Sums* biases = static_cast<const Sums*>(bias);
    const Floats* scales = static_cast<const Floats*>(scale);
    for (int64_t window = 0; window < count; ++window, sums += kernels, codes += kernels)
        for (int64_t vector = 0; vector * LANES < kernels; ++vector) {
            const int lanes = int(std::min<int64_t>(LANES, kernels - vector * LANES));
            Sums part = {};
            std::memcpy(&part, sums + vector * LANES, lanes == LANES ? sizeof part : lanes * sizeof(int32_t));
            const Sums biased = (Sums)((Words)part + (Words)biases[vector]);
            const Codes result = requantiser.codes(biased, scales[vector]);
            std::memcpy(codes + vector * LANES, &result, lanes == LANES ? LANES : lanes);
        }
}
