// Memristor reads of commands.py for any cells, ADCs and noise: same sums, saturations and generator states.
//
// A slot's digit is read in two steps. First the running sums of the cells of all lines that are on, input bit after
// input bit, in one list: the current of any group of rows is a difference of two of them, and the only loop whose
// length a processor cannot predict runs once. Then all reads in the order of the definition, without a branch: noise,
// ADC, sum of codes. Lanes are the bank's columns, w+ in the lower half and w- in the upper one, or one column a kernel
// in half as many lanes. The reference is taken off the cells in advance; its noise is the scalar beside the lanes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512BW__) && defined(__AVX512VNNI__) && !defined(MIXCIM_PORTABLE)
#include <immintrin.h>
#define MIXCIM_AVX512 1
#else
#define MIXCIM_AVX512 0
#endif

namespace {

constexpr int HALF = 16;          // lanes of one column of every kernel
constexpr int MOST_DIGITS = 8;
constexpr int MOST_BITS = 16;
constexpr int MOST_ROWS = 128;
constexpr int SEGMENTS = 8;       // formats.ADC_SEGMENTS
constexpr int UNROLLED = 8;       // lines added up in one round of a loop

typedef int16_t Short16 __attribute__((vector_size(32)));
typedef int16_t Short32 __attribute__((vector_size(64)));
typedef int32_t Int16 __attribute__((vector_size(64)));
typedef uint32_t Word16 __attribute__((vector_size(64)));

template <int LANES> struct Lanes;
template <> struct Lanes<16> { typedef Short16 Short; };
template <> struct Lanes<32> { typedef Short32 Short; };

}  // namespace

extern "C" {

// What kernel.py fills in, field by field.
struct Plan {
    int32_t lanes, rows, channels, digits, input_bits, vectors, tiles, length;
    int32_t adc_bits, unit_log2, code_offset, noisy, ideal_adc, narrow, has_inl, excess, skips, most_groups;
    int32_t is_signed, code_bytes, wide;  // top input bit counts negative; bytes of a window's integer; sums of 64 bits
    int32_t place[MOST_DIGITS], step_log2[MOST_DIGITS], negative[MOST_DIGITS];
    int32_t rows_per_read[MOST_BITS][MOST_DIGITS], step_shift[MOST_BITS][MOST_DIGITS];
    alignas(64) int16_t gain[32], offset[32], inl[SEGMENTS][32];  // of every lane
    int16_t noise[MOST_ROWS + 1];  // noise table times 8: what a rounding 16-bit product shifts off again
    const int16_t* cells;          // [vector][tile][digit][row][lane], 64-byte aligned: cell less reference
    const uint8_t* least;          // [vector][tile][digit][bit][group] fewest lines on at which a code is clipped
    const uint16_t* may_clip;      // [vector][tile][digit] input bits with a group that can clip at all
};
}

namespace {

inline uint32_t stepped(uint32_t s) {
    s ^= s << 13;
    s ^= s >> 17;
    return s ^ s << 5;
}

inline int gauss(uint32_t s) {
    const uint32_t pairs = (s & 0x00ff00ff) + (s >> 8 & 0x00ff00ff);
    return int((pairs & 0xffff) + (pairs >> 16)) - 510;
}

// Generators of a bank: one a lane, and the reference's.
template <int LANES> struct Generators {
    static constexpr int WORDS = LANES / 16;
    Word16 word[WORDS];
    uint32_t reference;

    Generators() = default;
    Generators(const Generators& other) { *this = other; }
    // Member by member: the compiler takes a whole copy through memory, and waits for it.
    Generators& operator=(const Generators& other) {
        for (int half = 0; half < WORDS; ++half) word[half] = other.word[half];
        reference = other.reference;
        return *this;
    }
    // Where the vectors hold a lane: packing two vectors of 32-bit words to 16 bits interleaves blocks of four.
    static int place(int lane) {
#if MIXCIM_AVX512
        if (LANES == 32) return (lane >> 2 & 1) * 16 + (lane >> 3) * 4 + (lane & 3);
#endif
        return lane;
    }
    void load(const uint32_t* states) {
        alignas(64) uint32_t ordered[LANES];
        for (int lane = 0; lane < LANES; ++lane) ordered[place(lane)] = states[lane];
        std::memcpy(word, ordered, sizeof word);
        reference = states[LANES];
    }
    void store(uint32_t* states) const {
        alignas(64) uint32_t ordered[LANES];
        std::memcpy(ordered, word, sizeof word);
        for (int lane = 0; lane < LANES; ++lane) states[lane] = ordered[place(lane)];
        states[LANES] = reference;
    }
    // Noise of every lane less the reference's, and `more`, for one read. `doubled`: twice, in both halves of a word,
    // 8 times the noise table's entry.
    typename Lanes<LANES>::Short draw(int32_t doubled, int more) {
        typedef typename Lanes<LANES>::Short Short;
        const int strength = doubled >> 16;
        const int16_t common = int16_t(more - ((gauss(reference) * strength + (1 << 14)) >> 15));
        reference = stepped(reference);
        Short noise;
#if MIXCIM_AVX512
        const __m512i ones = _mm512_set1_epi8(1), middle = _mm512_set1_epi32(-510);
        if constexpr (LANES == 32) {
            const __m512i low = _mm512_dpbusd_epi32(middle, (__m512i)word[0], ones);
            const __m512i high = _mm512_dpbusd_epi32(middle, (__m512i)word[1], ones);
            noise = (Short)_mm512_mulhrs_epi16(_mm512_packs_epi32(low, high), _mm512_set1_epi32(doubled));
        } else {
            const __m512i sum = _mm512_dpbusd_epi32(middle, (__m512i)word[0], ones);
            noise = (Short)_mm256_mulhrs_epi16(_mm512_cvtepi32_epi16(sum), _mm256_set1_epi32(doubled));
        }
#else
        int16_t parts[LANES];
        for (int half = 0; half < WORDS; ++half)
            for (int lane = 0; lane < 16; ++lane)
                parts[half * 16 + lane] = int16_t((gauss(word[half][lane]) * strength + (1 << 14)) >> 15);
        std::memcpy(&noise, parts, sizeof noise);
#endif
        for (Word16& s : word) {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
        }
        return noise + common;
    }
};

struct Counting {
    alignas(64) uint8_t value[64];
    constexpr Counting() : value() {
        for (int row = 0; row < 64; ++row) value[row] = uint8_t(row);
    }
};
[[maybe_unused]] constexpr Counting COUNTING;

// Lines of a vector that are on: for input bit 0, then for bit 1, and so on.
struct LinesOn {
    uint64_t mask[MOST_BITS][2];
    uint8_t line[MOST_BITS * MOST_ROWS + 64] = {};  // a row always, behind the last line too
    int first[MOST_BITS + 1];

    // `codes`: of `bytes` bytes each, little endian.
    void find(const uint8_t* codes, int bytes, int filled, int bits) {
        alignas(64) uint8_t bytes_of[2][MOST_ROWS] = {};  // low bytes, high bytes
        if (bytes == 1) std::memcpy(bytes_of[0], codes, filled);
        else for (int place = 0; place < 2 * filled; ++place) bytes_of[place & 1][place >> 1] = codes[place];
        int count = 0;
        for (int bit = 0; bit < bits; ++bit) {
            first[bit] = count;
            const uint8_t* const padded = bytes_of[bit >> 3];
            mask[bit][1] = 0;
            for (int word = 0; word * 64 < filled; ++word) {
                uint64_t mask = 0;
#if MIXCIM_AVX512
                mask = _mm512_test_epi8_mask(_mm512_load_si512(padded + word * 64), _mm512_set1_epi8(char(1 << (bit & 7))));
#else
                for (int byte = 0; byte < 8; ++byte) {
                    uint64_t eight;
                    std::memcpy(&eight, padded + word * 64 + byte * 8, 8);
                    mask |= ((eight >> (bit & 7) & 0x0101010101010101) * 0x0102040810204080 >> 56) << byte * 8;
                }
#endif
                this->mask[bit][word] = mask;
#if MIXCIM_AVX512 && defined(__AVX512VBMI2__)
                const __m512i start = _mm512_set1_epi8(char(word * 64));
                const __m512i rows = _mm512_add_epi8(_mm512_load_si512(COUNTING.value), start);
                _mm512_storeu_si512(line + count, _mm512_maskz_compress_epi8(mask, rows));
                count += __builtin_popcountll(mask);
#else
                for (; mask; mask &= mask - 1) line[count++] = uint8_t(word * 64 + __builtin_ctzll(mask));
#endif
            }
        }
        first[bits] = count;
    }
    // Place in the list behind the lines of a bit that are below a row.
    int below(int bit, int row) const {
        if (row >= 128) return first[bit + 1];
        const uint64_t rest = (uint64_t(1) << (row & 63)) - 1;
        if (row < 64) return first[bit] + __builtin_popcountll(mask[bit][0] & rest);
        return first[bit] + __builtin_popcountll(mask[bit][0]) + __builtin_popcountll(mask[bit][1] & rest);
    }
};

// Where the groups of a vector's reads end, bit by bit; digits that read the same rows at a time share them.
struct Groups {
    int first[MOST_DIGITS][MOST_BITS], number[MOST_DIGITS][MOST_BITS], entries = 0;
    int users[MOST_DIGITS][MOST_BITS] = {};  // digits that share what this one finds; 0: it finds nothing itself

    Groups(const Plan& plan, int filled) {
        for (int bit = 0; bit < plan.input_bits; ++bit)
            for (int digit = 0; digit < plan.digits; ++digit) {
                const int rows = plan.rows_per_read[bit][digit];
                number[digit][bit] = (filled + rows - 1) / rows;
                int same = 0;
                while (plan.rows_per_read[bit][same] != rows) ++same;
                first[digit][bit] = same == digit ? entries : first[same][bit];
                if (same == digit) entries += number[digit][bit];
                ++users[same][bit];
            }
    }
};

// Lanes of 16 bits for ideal ADCs, or for ADCs with errors; of 32 bits where 16 do not suffice; 16 for what clips only.
enum class Way { IDEAL, NARROW, WIDE, EXCESS };

template <int LANES> class Kernel {
    typedef typename Lanes<LANES>::Short Short;
    static constexpr int WORDS = LANES / 16;
    const Plan& plan;
    std::vector<Groups> groups_of;
    std::vector<Short> running;        // sums of the first 0, 1, 2 .. lines of the list
    std::vector<uint16_t> ends;        // of every group that is read, in the list
    std::vector<const uint16_t*> last; // behind the ends of a digit's bit, at the place of its first end
    std::vector<int32_t> strengths;    // noise of every group, as Generators takes it
    std::vector<Word16> totals;
    LinesOn on;
    Int16 over_all[WORDS] = {};        // clipped codes of every lane since `clipped` was brought up to date
    int64_t clipped = 0, left_out = 0;

    void find_groups(const Groups& groups) {
        for (int bit = 0; bit < plan.input_bits; ++bit)
            for (int digit = 0; digit < plan.digits; ++digit) {
                if (!groups.users[digit][bit]) continue;
                const int rows = plan.rows_per_read[bit][digit];
                int number = groups.number[digit][bit];
                uint16_t* end = &ends[groups.first[digit][bit]];
                for (int group = 0; group + 1 < number; ++group) end[group] = on.below(bit, (group + 1) * rows);
                end[number - 1] = on.first[bit + 1];
                if (plan.skips) {
                    const int lit = lit_groups(on.first[bit], end, number);
                    left_out += int64_t(number - lit) * groups.users[digit][bit] * plan.tiles;
                    if (!plan.excess) number = lit;
                }
                last[groups.first[digit][bit]] = end + number;
                if (!plan.noisy) continue;
                int32_t* strength = &strengths[groups.first[digit][bit]];
                for (int group = 0, before = on.first[bit]; group < number; before = end[group++])
                    strength[group] = plan.noise[end[group] - before] * 0x10001;
            }
    }

    // Number of groups with a line on. Their ends come first in the list afterwards, if groups can be left out of it.
    int lit_groups(int before, uint16_t* end, int number) const {
        int lit = 0;
        for (int group = 0; group < number; ++group) {
            const uint16_t until = end[group];
            if (!plan.excess) end[lit] = until;
            lit += until != before;
            before = until;
        }
        return lit;
    }

    // Running sums over the lines of some input bits. Neighbouring bits are one loop, of whole rounds of UNROLLED lines:
    // its end is what costs time. What it adds behind the last line, nobody looks at.
    void add_up(const Short* cells, unsigned bits) {
        Short sum = {};
        while (bits) {
            const int bit = __builtin_ctz(bits), behind = bit + __builtin_ctz(~(bits >> bit));
            const uint8_t* line = &on.line[on.first[bit]];
            const uint8_t* const end = &on.line[on.first[behind]];
            Short* __restrict target = &running[on.first[bit]];
            *target = sum;
            for (; line < end; line += UNROLLED)
#pragma GCC unroll 8
                for (int next = 0; next < UNROLLED; ++next) *++target = sum += cells[line[next]];
            // Without what came behind the last line: that place is the next bit's first, too, if none is between them.
            sum = running[on.first[behind]];
            bits &= ~0u << behind;
        }
    }

    // Input bits of a digit in which a group has enough lines on for a code to be clipped.
    unsigned clipping_bits(const Groups& groups, int digit, const uint8_t* least, unsigned candidates) const {
        unsigned bits = 0;
        for (; candidates; candidates &= candidates - 1) {
            const int bit = __builtin_ctz(candidates);
            const uint8_t* limit = least + bit * plan.most_groups;
            const uint16_t* end = &ends[groups.first[digit][bit]];
            bool clips = false;
            for (int group = 0, before = on.first[bit]; group < groups.number[digit][bit]; before = end[group++])
                clips |= end[group] - before >= limit[group];
            bits |= unsigned(clips) << bit;
        }
        return bits;
    }

    static Int16 widened(const Short& value, int half) {
#if MIXCIM_AVX512
        if constexpr (LANES == 32) {
            const __m512i all = (__m512i)value;
            return (Int16)_mm512_cvtepi16_epi32(half ? _mm512_extracti64x4_epi64(all, 1) : _mm512_castsi512_si256(all));
        } else {
            return (Int16)_mm512_cvtepi16_epi32((__m256i)value);
        }
#endif
        Short16 part;
        std::memcpy(&part, reinterpret_cast<const Short16*>(&value) + half, sizeof part);
        return __builtin_convertvector(part, Int16);
    }

    // first * second >> 16
    static Short product_high(const Short& first, const Short& second) {
#if MIXCIM_AVX512
        if constexpr (LANES == 32) return (Short)_mm512_mulhi_epi16((__m512i)first, (__m512i)second);
        else return (Short)_mm256_mulhi_epi16((__m256i)first, (__m256i)second);
#endif
        Short result;
        for (int lane = 0; lane < LANES; ++lane) result[lane] = int16_t(first[lane] * second[lane] >> 16);
        return result;
    }

    // value >> step, 1 to 14, by half a multiplication: AVX-512 shifts by a register in two operations.
    static Short shifted_down(const Short& value, int step) {
        return MIXCIM_AVX512 && step >= 2 ? product_high(value, Short{} + int16_t(1 << (16 - step))) : value >> step;
    }

    static Short of_lanes(const int16_t* parameter) {
        Short result;
        std::memcpy(&result, parameter, sizeof result);
        return result;
    }

    // Adds 1 to the lanes whose code is above the largest.
    static void count_above(Short& count, const Short& code, int16_t most) {
#if MIXCIM_AVX512
        if constexpr (LANES == 32) {
            const __m512i one = _mm512_set1_epi16(1), old = (__m512i)count;
            const __mmask32 above = _mm512_cmpgt_epi16_mask((__m512i)code, _mm512_set1_epi16(most));
            count = (Short)_mm512_mask_add_epi16(old, above, old, one);
            return;
        }
#endif
        count -= code > most;
    }

    // Adds a digit's codes to `total`; the generators step with every read.
    template <bool NOISY, Way WAY> void convert(const Groups& groups, int digit, unsigned bits, Word16* total,
                                                Generators<LANES>& generators) {
        Generators<LANES> local = generators;
        Short over16 = {};
        Int16 over32[WORDS] = {};
        Word16 result[WORDS] = {};
        const int largest = (1 << plan.adc_bits) - 1;
        const int top = plan.is_signed ? plan.input_bits - 1 : -1;  // counts negative
        for (; bits; bits &= bits - 1) {
            const int bit = __builtin_ctz(bits), shift = plan.step_shift[bit][digit];
            const int step_shift = shift + plan.step_log2[digit], step = plan.unit_log2 + step_shift;
            const uint16_t* end = &ends[groups.first[digit][bit]];
            const uint16_t* last = this->last[groups.first[digit][bit]];
            const int32_t* strength = &strengths[groups.first[digit][bit]];
            Short before = running[on.first[bit]];
            Int16 sum[WORDS] = {};
            if constexpr (WAY != Way::WIDE) {
                const int16_t half = int16_t(1 << (step - 1)), most = int16_t(largest);
                // Current times gain, shifted down by 8, is current + (2 * current * (gain - 256) * 128 >> 16).
                const Short more_gain = (of_lanes(plan.gain) - int16_t(256)) << 7, offset = of_lanes(plan.offset);
                const int part = step + plan.adc_bits - 3;
                Short codes = {};
                for (; end != last; ++end, ++strength) {
                    const Short until = running[*end];
                    Short value = until - before;
                    before = until;
                    if constexpr (NOISY) value += local.draw(*strength, WAY == Way::NARROW ? 0 : half);
                    else if constexpr (WAY != Way::NARROW) value += half;
                    if constexpr (WAY == Way::NARROW) {
                        value += product_high(value + value, more_gain) + offset;
                        if (plan.has_inl) {
                            Short inl = of_lanes(plan.inl[0]);
                            for (int segment = 1; segment < SEGMENTS; ++segment) {
                                const int from = std::min<int64_t>(int64_t(segment) << part, INT16_MAX);
                                inl = value >= int16_t(from) ? of_lanes(plan.inl[segment]) : inl;
                            }
                            value += inl << (Short{} + int16_t(step_shift));
                        }
                        value += half;
                    }
                    Short code = shifted_down(value, step);
                    count_above(over16, code, most);
                    if constexpr (WAY == Way::EXCESS) {
                        codes -= code > most ? code - most : Short{};
                    } else {
                        code = code > most ? (Short{} + most) : code;
                        codes += code < 0 ? Short{} : code;
                    }
                }
                for (int word = 0; word < WORDS; ++word) sum[word] = widened(codes, word);
            } else {
                const int part = std::min(step + plan.adc_bits - 3, 24);  // no current reaches 2**24
                for (; end != last; ++end, ++strength) {
                    const Short until = running[*end], current = until - before;
                    before = until;
                    Short noise = {};
                    if constexpr (NOISY) noise = local.draw(*strength, 0);
                    for (int word = 0; word < WORDS; ++word) {
                        Int16 value = widened(current, word) + widened(noise, word);
                        value = (value * widened(of_lanes(plan.gain), word) >> 8) + widened(of_lanes(plan.offset), word);
                        Int16 inl = widened(of_lanes(plan.inl[0]), word);
                        for (int segment = 1; segment < SEGMENTS; ++segment)
                            inl = value >= (segment << part) ? widened(of_lanes(plan.inl[segment]), word) : inl;
                        value += inl << step_shift;
                        Int16 code = (value + (1 << (step - 1))) >> step;
                        over32[word] -= code > largest;
                        code = code > largest ? (Int16{} + largest) : code;
                        sum[word] += code < 0 ? Int16{} : code;
                    }
                }
            }
            const Word16 weight = Word16{} + uint32_t(bit + plan.place[digit] + shift);  // of lanes: a faster shift
            if (bit == top) for (Int16& part : sum) part = -part;
            for (int word = 0; word < WORDS; ++word) result[word] += (Word16)sum[word] << weight;
        }
        if (NOISY) generators = local;
        for (int word = 0; word < WORDS; ++word) {
            total[word] += plan.negative[digit] ? -result[word] : result[word];
            const Int16 over = WAY != Way::WIDE ? widened(over16, word) : over32[word];
            over_all[word] += over;
        }
    }

    // `slot`: number of the digit's cells, counted over vectors, tiles and digits.
    void read_digit(const Groups& groups, int digit, size_t slot, Word16* total, Generators<LANES>& generators) {
        const Short* cells = reinterpret_cast<const Short*>(plan.cells) + slot * plan.rows;
        unsigned bits = (1u << plan.input_bits) - 1;
        if (plan.excess) {
            const uint8_t* least = plan.least + slot * plan.input_bits * plan.most_groups;
            bits = clipping_bits(groups, digit, least, plan.may_clip[slot]);
        }
        if (!bits || (!plan.noisy && plan.ideal_adc && !on.first[plan.input_bits])) return;
        add_up(cells, bits);
        if (plan.excess) convert<false, Way::EXCESS>(groups, digit, bits, total, generators);
        else if (plan.noisy) convert_all<true>(groups, digit, bits, total, generators);
        else convert_all<false>(groups, digit, bits, total, generators);
    }

    template <bool NOISY> void convert_all(const Groups& groups, int digit, unsigned bits, Word16* total,
                                           Generators<LANES>& generators) {
        if (!plan.narrow) convert<NOISY, Way::WIDE>(groups, digit, bits, total, generators);
        else if (plan.ideal_adc) convert<NOISY, Way::IDEAL>(groups, digit, bits, total, generators);
        else convert<NOISY, Way::NARROW>(groups, digit, bits, total, generators);
    }

    // Offset binary: 128 times the sum of the integers of rows [first, last), which is taken off again.
    uint32_t offset_of(const uint8_t* codes, int first, int last) const {
        if (!plan.code_offset || plan.excess) return 0;
        uint32_t sum = 0;
        for (int row = first; row < last; ++row) {
            uint32_t code = codes[row * plan.code_bytes];
            if (plan.code_bytes == 2) code |= uint32_t(codes[row * 2 + 1]) << 8;
            code &= (1u << plan.input_bits) - 1;
            sum += plan.is_signed && code >> (plan.input_bits - 1) ? code - (1u << plan.input_bits) : code;
        }
        return sum * uint32_t(plan.code_offset);
    }

    // Adds the totals, of 32 bits, to the sums of a window, and starts them again.
    template <typename Sum> void add_totals(Sum* sums, uint32_t offset) {
        for (int tile = 0; tile < plan.tiles; ++tile)
            for (int kernel = 0; kernel < plan.channels; ++kernel) {
                uint32_t total = totals[tile * WORDS][kernel] - offset;
                if (WORDS == 2) total -= totals[tile * WORDS + 1][kernel];
                sums[tile * plan.channels + kernel] += Sum(int32_t(total));
            }
        std::fill(totals.begin(), totals.end(), Word16{});
    }

    // `sums`: of a window, 0 before; uint32 wraps as int32 does.
    template <typename Sum> void read_window(const uint8_t* codes, Sum* sums, Generators<LANES>& generators) {
        const size_t slots = size_t(plan.tiles) * plan.digits;
        for (int vector = 0; vector < plan.vectors; ++vector) {
            if (plan.excess && !plan.skips) {
                const uint16_t* may = plan.may_clip + vector * slots;
                if (std::all_of(may, may + slots, [](uint16_t bits) { return !bits; })) continue;
            }
            const int start = vector * plan.rows, filled = std::min(plan.rows, plan.length - start);
            const Groups& groups = groups_of[vector];
            on.find(codes + start * plan.code_bytes, plan.code_bytes, filled, plan.input_bits);
            find_groups(groups);
            size_t slot = vector * slots;
            for (int tile = 0; tile < plan.tiles; ++tile)
                for (int digit = 0; digit < plan.digits; ++digit)
                    read_digit(groups, digit, slot++, &totals[tile * WORDS], generators);
            if (plan.wide) add_totals(sums, offset_of(codes, start, start + filled));
        }
        if (!plan.wide) add_totals(sums, offset_of(codes, 0, plan.length));
        for (int word = 0; word < WORDS; ++word) {
            for (int lane = 0; lane < plan.channels; ++lane) clipped += over_all[word][lane];
            over_all[word] = Int16{};
        }
    }

public:
    explicit Kernel(const Plan& plan) : plan(plan) {
        size_t most = 0;
        for (int vector = 0; vector < plan.vectors; ++vector) {
            groups_of.emplace_back(plan, std::min(plan.rows, plan.length - vector * plan.rows));
            most = std::max(most, size_t(groups_of.back().entries));
        }
        running.resize(MOST_BITS * MOST_ROWS + 1 + UNROLLED);
        ends.resize(most);
        last.resize(most);
        strengths.resize(most);
        totals.resize(plan.tiles * WORDS);
    }

    template <typename Sum> void read(const uint8_t* windows, int64_t inputs, int64_t pixels, Sum* sums,
                                      int64_t* saturations, int64_t* skips, uint32_t* states) {
        for (int64_t input = 0; input < inputs; ++input) {
            Generators<LANES> generators{};
            if (plan.noisy) generators.load(states + input * (LANES + 1));
            clipped = left_out = 0;
            for (int64_t pixel = 0; pixel < pixels; ++pixel) {
                const int64_t window = input * pixels + pixel;
                read_window(windows + window * plan.length * plan.code_bytes,
                            sums + window * plan.tiles * plan.channels, generators);
            }
            saturations[input] = clipped;
            skips[input] = left_out;
            if (plan.noisy) generators.store(states + input * (LANES + 1));
        }
    }
};

}  // namespace

namespace {

template <int LANES> void read_all(const Plan& plan, const uint8_t* windows, int64_t inputs, int64_t pixels, void* sums,
                                   int64_t* saturations, int64_t* skips, uint32_t* states) {
    Kernel<LANES> kernel(plan);
    if (plan.wide) kernel.read(windows, inputs, pixels, static_cast<int64_t*>(sums), saturations, skips, states);
    else kernel.read(windows, inputs, pixels, static_cast<uint32_t*>(sums), saturations, skips, states);
}

}  // namespace

// windows uint8 or uint16 (inputs, pixels, length), by code_bytes; sums int32, if wide int64 (inputs, pixels, tiles *
// channels), are added to; saturations and skips int64 (inputs,) are overwritten; states uint32 (inputs, lanes + 1), the
// reference last, go on.
extern "C" __attribute__((visibility("default"))) void mixcim_memristor_read(
    const Plan* plan, const uint8_t* windows, int64_t inputs, int64_t pixels, void* sums, int64_t* saturations,
    int64_t* skips, uint32_t* states) {
    if (plan->lanes == 32) read_all<32>(*plan, windows, inputs, pixels, sums, saturations, skips, states);
    else read_all<16>(*plan, windows, inputs, pixels, sums, saturations, skips, states);
}
