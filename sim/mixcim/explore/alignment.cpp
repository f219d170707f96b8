// Dot products whose every product is rounded by itself. What is computed is said in alignment.py, `rounded_products`.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

constexpr std::size_t LANES = 64;  // dot products side by side

struct Single { using Bits = std::uint32_t; static constexpr int MANTISSA = 23, BIAS = 127; };
struct Double { using Bits = std::uint64_t; static constexpr int MANTISSA = 52, BIAS = 1023; };

template <typename Real, typename Layout>
Real power_of_two(int exponent) {
    return std::bit_cast<Real>(static_cast<typename Layout::Bits>(exponent + Layout::BIAS) << Layout::MANTISSA);
}

template <typename Real, typename Layout, bool TRUNCATE>
void dot_products(const Real *inputs, const Real *weights, double *results, std::size_t length, std::size_t vectors,
                  std::size_t kernels, int aligned_bits) {
    const Real largest = aligned_bits ? power_of_two<Real, Layout>(aligned_bits - 1) - 1 : INFINITY;
    std::vector<Real> block(length * LANES);
    for (std::size_t first = 0; first < vectors; first += LANES) {
        const std::size_t used = vectors - first < LANES ? vectors - first : LANES;
        for (std::size_t i = 0; i < length; ++i)
            for (std::size_t j = 0; j < LANES; ++j)
                block[i * LANES + j] = j < used ? inputs[i * vectors + first + j] : Real(0);
        for (std::size_t k = 0; k < kernels; ++k) {
            const Real *weight = weights + k * length;
            Real scale[LANES], sum[LANES] = {}, most[LANES] = {};
            if (aligned_bits)
                for (std::size_t i = 0; i < length; ++i)
                    for (std::size_t j = 0; j < LANES; ++j) {
                        const Real magnitude = std::abs(block[i * LANES + j] * weight[i]);
                        most[j] = magnitude > most[j] ? magnitude : most[j];
                    }
            for (std::size_t j = 0; j < LANES; ++j) {
                const auto bits = std::bit_cast<typename Layout::Bits>(most[j]);
                const int exponent = static_cast<int>(bits >> Layout::MANTISSA) - Layout::BIAS;
                scale[j] = most[j] > 0 ? power_of_two<Real, Layout>(aligned_bits - 2 - exponent) : Real(1);
            }
            for (std::size_t i = 0; i < length; ++i)
                for (std::size_t j = 0; j < LANES; ++j) {
                    const Real product = block[i * LANES + j] * weight[i] * scale[j];
                    Real integer = TRUNCATE ? std::trunc(product) : std::nearbyint(product);
                    integer = integer > largest ? largest : integer;
                    sum[j] += integer < -largest ? -largest : integer;
                }
            for (std::size_t j = 0; j < used; ++j)
                results[k * vectors + first + j] = static_cast<double>(sum[j]) / static_cast<double>(scale[j]);
        }
    }
}

}  // namespace

#define DOT_PRODUCTS(NAME, REAL, LAYOUT)                                                                             \
    extern "C" void NAME(const REAL *inputs, const REAL *weights, double *results, std::size_t length,               \
                         std::size_t vectors, std::size_t kernels, int aligned_bits, int truncate) {                 \
        (truncate ? dot_products<REAL, LAYOUT, true> : dot_products<REAL, LAYOUT, false>)(                           \
            inputs, weights, results, length, vectors, kernels, aligned_bits);                                       \
    }

DOT_PRODUCTS(dot_products_float32, float, Single)
DOT_PRODUCTS(dot_products_float64, double, Double)
