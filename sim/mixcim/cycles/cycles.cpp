// Cycles of a program: the RTL's state machines without its data, one struct per hardware block, of the same name.
//
// A cycle is evaluated from its registers in the order in which the RTL's combinational paths run: output pipelines
// (who is served by the memories), arbiters, units from accumulator to queue, kernel controller, feeder. Each block
// takes its clock edge as soon as nothing in the cycle depends on its registers any more. Only units that take part in
// a RUN are visited. prediction.py fills the structures in, field by field; all numbers there are int32.
#include <algorithm>
#include <cstdint>
#include <vector>

extern "C" {

// Sizes of the chip.
struct Chip {
    int32_t engines, units, vector_queue, activation_words, activation_banks, beats, output_lanes, parameter_tiles;
    int32_t rows, feeder_words, window_words, alignment_latency, lane_latency, float_lane_latency;
    int32_t pool_period, pool_lane_latency, deep, load_cycles;  // deep: 1: the chip's deep_pipeline
};

// A compute unit. `stages`: registers that the last read of a step passes on its way to the dpv register.
struct UnitKind {
    int32_t engine, stages;
};

// A command. `words`: that are fetched; `overlap`, `count`: of a LOAD; `run`: index of a RUN among the RUNs, or -1.
struct Command {
    int32_t opcode, words, overlap, count, run;
};

// Fields of RUN. `wide`, `output_wide`, `residual_wide`: elements of two bytes.
struct Run {
    int32_t granule_log2, tap_words, kernel_width, kernel_height, output_width, output_height, group_count;
    int32_t first_group, input_height, input_width, stride_x, stride_y, pad_left, pad_top;
    int32_t window_start, window_step_x, window_step_y, row_pitch, pixel_pitch, output_pitch;
    int32_t tap_exponents, weight_slices, copies, residual, floating, output_base, residual_base, output_tiles;
    int32_t pooling, pool_parameter, floating_input, floating_output, wide, output_wide, residual_wide;
};

// A unit's part of a RUN. Cycles of a step, and kernel tiles in it: with a full vector, and with a window's last one.
struct UnitRun {
    int32_t tiles, copy, parameter, full_cycles, last_cycles, full_packed, last_packed;
};

// An entry of the tile map.
struct Tile {
    int32_t word_offset, lane_mask, exponent_offset;
};
}

namespace {

constexpr int32_t ADDRESS = (1 << 24) - 1;  // addresses are taken modulo 2**24
constexpr int MOST_QUEUED = 16, MOST_STAGES = 9, MOST_LANES = 32, MOST_ALIGNMENT = 2, MOST_POOL_STAGES = 7;
constexpr int STEPS = 4;  // in a bank of a deep pipeline
enum Opcode { END = 1, LOAD = 2, TABLE = 3, RUN = 4 };
enum Fault { NONE = 0, ILLEGAL_COMMAND = 1, INPUT_ADDRESS = 3, OUTPUT_ADDRESS = 4, PARAMETER_ADDRESS = 7 };

// What a stopped program says of itself.
struct Stop {
    int32_t fault = NONE, detail = 0;
    void raise(Fault code, int32_t value) {
        if (fault == NONE) fault = code, detail = value;
    }
};

struct Vector {
    int32_t offset, group, copy;
    bool window_start, window_end;
};

// Where a step's sums belong, those of `tiles` kernel tiles. `first`, `last`: they begin, complete their tiles.
struct Tag {
    int32_t parameter, offset, tiles;
    bool first, last;
};

// Ports of one kind, of one cycle: who comes first wins a bank, whether it is served or not.
struct BankedMemory {
    std::vector<uint8_t> bank;  // of every address
    uint32_t taken = 0;         // banks that earlier ports want

    void build(int32_t words, int32_t banks) {
        int select = 0;
        while (1 << select < banks) ++select;
        bank.resize(words);
        for (int32_t address = 0; address < words; ++address)
            bank[address] = uint8_t(address & (banks - 1) ^ (address < banks ? 0 : bank[address >> select]));
    }
    uint32_t wanted(int32_t address, bool wide) const {
        return wide ? 3u << (bank[address & ~1] & ~1) : 1u << bank[address];
    }
    // Whether an enabled port is served.
    bool serve(uint32_t wanted) {
        const bool ready = !(wanted & taken);
        taken |= wanted;
        return ready;
    }
};

// Read and write ports of activation memory, write ports of exponent memory: all lie alike.
struct Memories {
    BankedMemory reads, writes, entries;
    void begin() { reads.taken = writes.taken = entries.taken = 0; }
};

// Queue, sequencer, bank and accumulator of a unit.
struct ComputeUnit {
    const UnitRun* fields;
    int slices, depth, stages, deep;
    // Queue.
    Vector queue[MOST_QUEUED];
    int head = 0, level = 0;
    bool room = true;  // in this cycle
    // Sequencer.
    int tile = 0, slice = 0;
    // Bank: the step at work, those whose last read is on its way, the finished one.
    bool working = false, sums_valid = false;
    int remaining = 0;
    Tag tag, sums;
    struct Stage {
        bool valid;
        Tag tag;
    } stage[MOST_STAGES] = {};
    int inside = 0;  // steps taken whose sums are not accumulated yet
    // A deep pipeline's queue before the accumulator.
    Tag waiting[STEPS - 1];
    int held = 0;
    // Accumulator: the tile at work, of those of the sums.
    bool fetched = false;
    int part = 0;

    bool busy() const { return level || inside; }
    bool there() const { return deep ? held != 0 : sums_valid; }
    const Tag& given() const { return deep ? waiting[0] : sums; }
    bool added() const { return there() && (fetched || given().first); }
    bool result_valid() const { return added() && given().last; }
    Tag result() const { return {given().parameter + part, given().offset, 1, true, true}; }

    void push(const Vector& vector) {
        int tail = head + level++;
        queue[tail >= depth ? tail - depth : tail] = vector;
    }
    // A cycle, but for what the kernel controller pushes.
    void tick(bool result_ready) {
        room = level != depth;
        if (!level && !inside) return;
        // Accumulator: read, then add, tile by tile.
        const bool done = added() && (result_ready || !given().last);
        const bool finish = done && part + 1 == given().tiles;
        fetched = there() && !done;
        if (done) part = finish ? 0 : part + 1;
        // Bank.
        const Stage& end = stage[stages - 1];
        const bool ready = deep ? held != STEPS - 1 : finish, room = !deep || inside < STEPS;
        const bool advance = deep || !(end.valid && sums_valid && !ready);
        inside -= finish;
        if (deep) {
            if (finish) std::copy(waiting + 1, waiting + held--, waiting);
            if (sums_valid && ready) waiting[held++] = sums;
        }
        if (ready) sums_valid = false;
        if (!advance) return;
        if (end.valid) sums_valid = true, sums = end.tag;
        for (int number = stages - 1; number > 0; --number) stage[number] = stage[number - 1];
        const bool last = working && remaining == 0;
        stage[0].valid = last;
        if (last) stage[0].tag = tag, working = false;
        if (working) {
            --remaining;
        } else if (level && room) {
            take_step();
        }
    }

  private:
    void take_step() {
        const Vector& vector = queue[head];
        const int packed = vector.window_end ? fields->last_packed : fields->full_packed;
        const bool last_slice = slice + 1 == slices, last_tile = tile + packed >= fields->tiles;
        working = true;
        remaining = (vector.window_end ? fields->last_cycles : fields->full_cycles) - 1;
        tag = {fields->parameter + vector.group * fields->tiles + tile, vector.offset,
               last_tile ? fields->tiles - tile : packed, vector.window_start && slice == 0,
               vector.window_end && last_slice};
        ++inside;
        slice = last_slice ? 0 : slice + 1;
        if (!last_slice) return;
        tile = last_tile ? 0 : tile + packed;
        if (!last_tile) return;
        head = head + 1 == depth ? 0 : head + 1;
        --level;
    }
};

// A result on its way to the output pipeline.
struct Result {
    bool valid = false;
    Tag tag;
};

struct OutputPipeline {
    const Chip* chip;
    const Run* run;
    const Tile* tiles;
    Stop* stop;
    int latency;
    // A beat on its way through the lanes.
    struct Beat {
        bool valid, writes, last;
        int32_t address, entry;
    };
    std::vector<Beat> lanes;  // a ring: `newest` is that of cycle 2, the one behind it is done
    int newest = 0;
    int beat = 0;
    // Cycle 1: the tile map's entry is there. Of a deep pipeline, the addresses are a cycle later.
    struct Started {
        bool valid = false;
        int beat;
        Tag result;
    } mapped, addressed;
    int inside = 0;

    void begin(const Chip& sizes, const Run& fields, const Tile* map, Stop& cause) {
        chip = &sizes, run = &fields, tiles = map, stop = &cause;
        latency = run->floating ? chip->float_lane_latency : chip->lane_latency;
        lanes.assign(latency + 1, Beat{});
        newest = beat = inside = 0;
        mapped.valid = addressed.valid = false;
    }
    // A cycle. Returns whether the result is taken; adds to `written`.
    bool tick(const Result& result, Memories& memories, int32_t& written_tiles) {
        if (!result.valid && !inside) return false;
        const int oldest = newest == latency ? 0 : newest + 1;
        const Beat& done = lanes[oldest];
        bool written = true;
        if (done.valid && done.writes)
            written = memories.writes.serve(memories.writes.wanted(done.address, run->output_wide));
        if (done.valid && done.last && run->floating_output)
            written &= memories.entries.serve(memories.entries.wanted(done.entry, false));
        if (!written) return false;
        const Started now = chip->deep ? addressed : mapped;
        if (now.valid && now.beat == 0 && run->residual) {
            const int32_t address = element(run->residual_base + now.result.offset,
                                            tiles[now.result.parameter].word_offset, run->residual_wide);
            if (address >= chip->activation_words) return stop->raise(OUTPUT_ADDRESS, address), false;
            if (!memories.reads.serve(memories.reads.wanted(address, run->residual_wide))) return false;
        }
        // Everything goes on.
        const bool taken = result.valid, last = beat == chip->beats - 1;
        inside += taken - done.valid;
        written_tiles += done.valid && done.last;
        newest = oldest;
        lanes[newest] = now.valid ? started(now) : Beat{};
        addressed = mapped;
        mapped.valid = taken;
        if (!taken) return false;
        if (result.tag.parameter >= chip->parameter_tiles)
            return stop->raise(PARAMETER_ADDRESS, result.tag.parameter), false;
        mapped.beat = beat, mapped.result = result.tag;
        beat = last ? 0 : beat + 1;
        return last;
    }

  private:
    static int32_t element(int32_t first, int32_t word_offset, bool wide) {
        return wide ? first + (word_offset << 1) & ADDRESS & ~1 : first + word_offset & ADDRESS;
    }
    // A beat as it enters the lanes, in cycle 2.
    Beat started(const Started& now) const {
        const Tile& tile = tiles[now.result.parameter];
        const int32_t base = run->output_base + now.result.offset;
        const int32_t lanes_here = tile.lane_mask >> now.beat * chip->output_lanes & ((1 << chip->output_lanes) - 1);
        Beat made = {true, lanes_here != 0, now.beat == chip->beats - 1,
                     element(base, tile.word_offset, run->output_wide), base + tile.exponent_offset & ADDRESS};
        if (made.address >= chip->activation_words) stop->raise(OUTPUT_ADDRESS, made.address);
        if (run->floating_output && made.entry >= chip->activation_words) stop->raise(OUTPUT_ADDRESS, made.entry);
        return made;
    }
};

struct Engine {
    std::vector<ComputeUnit*> units;  // that take part
    Result result;  // of the arbiter
    OutputPipeline output;

    bool busy() const {
        if (result.valid || output.inside) return true;
        for (const ComputeUnit* unit : units)
            if (unit->busy()) return true;
        return false;
    }
    // Arbiter and units, after the output pipeline, which has taken the result or not.
    void tick(bool result_taken) {
        const bool open = !result.valid || result_taken;
        bool found = false;
        for (ComputeUnit* unit : units) {
            const bool first = open && !found && unit->result_valid();
            if (first) found = true, result.tag = unit->result();
            unit->tick(first);
        }
        if (open) result.valid = found;
    }
};

struct KernelController {
    std::vector<std::vector<ComputeUnit*>> of_copy;
    std::vector<ComputeUnit*> waiting;  // units that do not have the present vector yet
    bool begun = false;

    // A cycle, with a vector or none. Returns whether it leaves.
    bool tick(bool valid, const Vector& vector) {
        if (!valid) return true;
        if (!begun) waiting = of_copy[vector.copy];
        size_t left = 0;
        for (ComputeUnit* unit : waiting) {
            if (unit->room)
                unit->push(vector);
            else
                waiting[left++] = unit;
        }
        waiting.resize(left);
        begun = left != 0;
        return !begun;
    }
};

// The windows of a RUN, in order, and where each lies; the taps of a window.
struct Windows {
    const Run* run;
    // Row, column, and address from the window's first tap on.
    struct Tap {
        int y, x;
        int32_t place;
    };
    std::vector<Tap> taps;
    int x, y, group, copy;
    int32_t group_start, row_start, base, offset;
    int top, left;

    void begin(const Run& fields) {
        run = &fields;
        taps.clear();
        for (int row = 0; row < run->kernel_height; ++row)
            for (int column = 0; column < run->kernel_width; ++column)
                for (int word = 0; word < run->tap_words; ++word) {
                    const int32_t place = row * run->row_pitch + column * run->pixel_pitch + (word << run->wide);
                    taps.push_back({row, column, place});
                }
        x = y = group = 0;
        group_start = run->window_start + (run->first_group << run->wide);
        start_group();
    }
    bool row_end() const { return x + 1 == run->output_width; }
    bool inside(const Tap& tap) const {
        const int row = top + tap.y, column = left + tap.x;
        return row >= 0 && row < run->input_height && column >= 0 && column < run->input_width;
    }
    int32_t address(const Tap& tap) const { return base + tap.place & (run->wide ? ADDRESS & ~1 : ADDRESS); }
    // On to the next window; false behind the last one.
    bool step() {
        offset += run->output_pitch, left += run->stride_x, base += run->window_step_x;
        if (++copy == run->copies) copy = 0;
        if (++x < run->output_width) return true;
        x = 0, left = -run->pad_left, top += run->stride_y, base = row_start += run->window_step_y;
        if (++y < run->output_height) return true;
        y = 0, group_start += 1 << run->wide;
        start_group();
        return ++group < run->group_count;
    }

  private:
    void start_group() {
        top = -run->pad_top, left = -run->pad_left, base = row_start = group_start, offset = copy = 0;
    }
};

// One entry a cycle; how many there are is all that counts.
struct WindowExponents {
    int entries, entry;  // of a window; the next one that is read
    int64_t windows;     // that are not read whole yet
    bool read_valid, read_last, window_valid;

    void begin(const Run& run) {
        entries = run.kernel_height * run.kernel_width * std::max(run.tap_exponents, 1);
        windows = run.floating_input ? int64_t(run.output_height) * run.output_width * run.group_count : 0;
        entry = 0;
        read_valid = read_last = window_valid = false;
    }
    void tick(bool window_ready) {
        const bool complete = read_valid && read_last, advance = !(complete && window_valid && !window_ready);
        if (window_ready) window_valid = false;
        if (!advance) return;
        if (complete) window_valid = true;
        read_valid = windows != 0;
        read_last = entry + 1 == entries;
        if (!read_valid) return;
        entry = read_last ? 0 : entry + 1;
        windows -= read_last;
    }
};

struct Feeder {
    const Chip* chip;
    const Run* run;
    Stop* stop;
    Windows windows;
    WindowExponents exponents;
    int setup;  // cycles until the lanes know their taps
    bool walking;
    int first_tap;         // of the present beat
    int filled;            // rows of the vector that earlier beats have filled
    bool begun;            // earlier vectors of the window have left
    bool similar, usable;  // windows overlap such that words can be kept; the window before is in the store
    // Beats on their way through memory and alignment.
    struct Beat {
        bool valid, last;
        Vector vector;
    };
    // Beats that are made out, the one that is read first: one, or a deep pipeline's queue of two.
    struct Made {
        uint32_t reads[MOST_LANES];  // banks of each of its reads that are not served yet
        int left;
        int32_t outside;  // address of the first one past the memory, or -1
        Beat beat;
    } made[2];
    int level;
    Beat stage[MOST_ALIGNMENT + 1];
    bool vector_valid = false;
    Vector vector;

    void begin(const Chip& sizes, const Run& fields, Stop& cause) {
        chip = &sizes, run = &fields, stop = &cause;
        windows.begin(fields);
        exponents.begin(fields);
        setup = chip->feeder_words + 1 + 3 * chip->deep;  // deep: a register of the limits, taps of the second beat
        walking = usable = vector_valid = begun = false;
        first_tap = filled = level = 0;
        similar = run->window_step_x == run->stride_x * run->pixel_pitch &&
                  int(windows.taps.size()) <= chip->window_words;
        for (Beat& beat : stage) beat.valid = false;
    }
    bool busy() const {
        if (setup || walking || level || vector_valid) return true;
        for (int number = 0; number <= chip->alignment_latency; ++number)
            if (stage[number].valid) return true;
        return false;
    }
    // A cycle; `vector_ready`: of a vector that is offered.
    void tick(bool vector_ready, Memories& memories) {
        const int end = chip->alignment_latency;
        const bool complete = stage[end].valid && stage[end].last;
        const bool advance = !(complete && vector_valid && (chip->deep || !vector_ready));
        const bool there = walking && (exponents.window_valid || !run->floating_input);
        const bool window_end = first_tap + chip->feeder_words >= int(windows.taps.size());
        const bool room = level != 2;
        if (!chip->deep && there && !level) make(made[level++], window_end, memories);
        const bool next = level && advance && read(made[0], memories);
        const bool step = chip->deep ? there && room : next;
        const Beat beat = made[0].beat;
        if (next && --level) made[0] = made[1];
        if (chip->deep && step) make(made[level++], window_end, memories);
        if (run->floating_input) exponents.tick(step && window_end);
        if (step) walk(window_end);
        if (setup && --setup == 0) walking = true;
        if (vector_ready) vector_valid = false;
        if (!advance) return;
        if (complete) vector_valid = true, vector = stage[end].vector;
        for (int number = end; number > 0; --number) stage[number] = stage[number - 1];
        stage[0] = beat;
        stage[0].valid = next;
    }

  private:
    // The present beat, and its reads but for padding and what is kept of the last window.
    void make(Made& it, bool window_end, const Memories& memories) const {
        it.left = 0, it.outside = -1;
        const int end = std::min<int>(first_tap + chip->feeder_words, int(windows.taps.size()));
        for (int number = first_tap; number < end; ++number) {
            const Windows::Tap& tap = windows.taps[number];
            if (!windows.inside(tap) || (usable && tap.x + run->stride_x < run->kernel_width)) continue;
            const int32_t address = windows.address(tap);
            if (address >= chip->activation_words) {
                it.outside = address;
                break;
            }
            it.reads[it.left++] = memories.reads.wanted(address, run->wide);
        }
        it.beat.last = window_end || full() >= chip->rows;
        it.beat.vector = {windows.offset, windows.group, windows.copy, !begun, window_end};
    }
    int full() const { return filled + (chip->feeder_words << run->granule_log2); }
    // Asks for what is missing of a beat; whether nothing is any more.
    bool read(Made& it, Memories& memories) {
        if (it.outside >= 0) return stop->raise(INPUT_ADDRESS, it.outside), false;
        int missing = 0;
        for (int number = 0; number < it.left; ++number)
            if (!memories.reads.serve(it.reads[number])) it.reads[missing++] = it.reads[number];
        it.left = missing;
        return missing == 0;
    }
    // On to the next beat.
    void walk(bool window_end) {
        const bool vector_end = window_end || full() >= chip->rows;
        if (vector_end) begun = !window_end;
        filled = vector_end ? 0 : full();
        first_tap = window_end ? 0 : first_tap + chip->feeder_words;
        if (!window_end) return;
        usable = similar && !windows.row_end();
        walking = windows.step();
    }
};

// What takes the place of feeder and units in a RUN with pooling.
struct FloatPool {
    const Chip* chip;
    const Run* run;
    Stop* stop;
    Windows windows;
    int tap, phase;
    bool walking;
    bool word_valid, word_last;    // the word that is there; of its window
    int stage[MOST_POOL_STAGES];   // beats in the lanes whose numbers count, from 1 on; 0: none
    Result result;
    int x, y;  // of the result's window

    void begin(const Chip& sizes, const Run& fields, Stop& cause) {
        chip = &sizes, run = &fields, stop = &cause;
        windows.begin(fields);
        walking = true, word_valid = word_last = false;
        tap = x = y = 0, phase = chip->pool_period - 1;
        std::fill(stage, stage + MOST_POOL_STAGES, 0);
        result = {false, {run->pool_parameter, 0, 1, true, true}};
    }
    bool busy() const {
        if (walking || word_valid || result.valid) return true;
        return std::any_of(stage, stage + chip->pool_lane_latency, [](int beat) { return beat != 0; });
    }
    void tick(bool result_ready, Memories& memories) {
        const int done = stage[chip->pool_lane_latency - 1];
        const bool blocked = done && result.valid && !result_ready;
        const bool fetch = walking && phase == chip->pool_period - 1;
        bool advance = !blocked;
        if (advance && fetch && windows.inside(windows.taps[tap])) {
            const int32_t address = windows.address(windows.taps[tap]);
            if (address >= chip->activation_words) return stop->raise(INPUT_ADDRESS, address);
            advance = memories.reads.serve(memories.reads.wanted(address, run->wide));
        }
        if (result.valid && result_ready) leave();
        if (!advance) return;
        if (done == chip->beats) result.valid = true;
        for (int number = chip->pool_lane_latency - 1; number > 0; --number) stage[number] = stage[number - 1];
        stage[0] = word_valid && word_last && phase < chip->beats ? phase + 1 : 0;
        if (++phase < chip->pool_period) return;
        phase = 0;
        word_valid = walking;
        if (!walking) return;
        word_last = tap + 1 == int(windows.taps.size());
        tap = word_last ? 0 : tap + 1;
        if (word_last) walking = windows.step();
    }

  private:
    void leave() {
        result.valid = false;
        result.tag.offset += run->output_pitch;
        if (++x < run->output_width) return;
        x = 0;
        if (++y < run->output_height) return;
        y = 0, ++result.tag.parameter, result.tag.offset = 0;
    }
};

// Everything that works on a RUN.
struct Core {
    const Chip& chip;
    const UnitKind* kinds;
    const Tile* tiles;
    Stop& stop;
    Memories memories;
    std::vector<ComputeUnit> units;
    std::vector<Engine> engines;
    KernelController kernel_controller;
    Feeder feeder;
    FloatPool pool;
    bool pooling = false;
    int32_t written = 0;

    Core(const Chip& sizes, const UnitKind* of_units, const Tile* map, Stop& cause)
        : chip(sizes), kinds(of_units), tiles(map), stop(cause), units(sizes.units), engines(sizes.engines) {
        memories.reads.build(chip.activation_words, chip.activation_banks);
        memories.writes.bank = memories.entries.bank = memories.reads.bank;
        for (int unit = 0; unit < chip.units; ++unit) {
            units[unit].stages = kinds[unit].stages;
            units[unit].depth = chip.vector_queue;
            units[unit].deep = chip.deep;
        }
    }
    void begin(const Run& run, const UnitRun* fields) {
        for (Engine& engine : engines) {
            engine.units.clear();
            engine.output.begin(chip, run, tiles, stop);
        }
        kernel_controller.of_copy.assign(run.copies, {});
        for (int unit = 0; unit < chip.units; ++unit) {
            if (!fields[unit].tiles) continue;
            units[unit].fields = &fields[unit];
            units[unit].slices = run.weight_slices;
            engines[kinds[unit].engine].units.push_back(&units[unit]);
            kernel_controller.of_copy[fields[unit].copy].push_back(&units[unit]);
        }
        pooling = run.pooling;
        if (pooling)
            pool.begin(chip, run, stop);
        else
            feeder.begin(chip, run, stop);
        written = 0;
    }
    bool busy() const {
        if (pooling ? pool.busy() : feeder.busy()) return true;
        for (const Engine& engine : engines)
            if (engine.busy()) return true;
        return false;
    }
    void tick() {
        memories.begin();
        if (pooling) return pool.tick(engines[0].output.tick(pool.result, memories, written), memories);
        for (Engine& engine : engines) engine.tick(engine.output.tick(engine.result, memories, written));
        const bool ready = kernel_controller.tick(feeder.vector_valid, feeder.vector);
        feeder.tick(ready, memories);
    }
};

// A part of a word a cycle, its unit one behind, in a deep pipeline three.
struct Loader {
    int32_t deep, parts;
    int64_t last = -1;  // cycle in which it is busy
    bool busy(int64_t cycle) const { return cycle <= last; }
    void start(int64_t cycle, int32_t count) {
        if (count) last = cycle + int64_t(count) * parts + 1 + 2 * deep;
    }
};

// Fetches commands and begins them, one after the other.
struct LayerController {
    const Chip& chip;
    const Command* commands;
    const Run* runs;
    const UnitRun* units;
    int64_t* begins;
    Core& core;
    Loader loader = {chip.deep, chip.load_cycles};
    int64_t cycle = 0, issue = 0;  // the present one; the first one in which command `index` can begin, fetched by then
    int32_t index = 0, run_command = 0;
    const Run* run = nullptr;
    bool running = false, run_start = false, done = false;

    // Up to END, or until a RUN stops.
    void go() {
        for (issue = commands[0].words + 1 + later(); !done && core.stop.fault == NONE; ++cycle) {
            if (!running) cycle = std::max({cycle, issue, loader.last + 1});
            tick();
        }
    }

  private:
    void tick() {
        const bool run_done = running && !run_start && !core.busy();
        if (run_done && core.written != run->output_tiles) core.stop.raise(ILLEGAL_COMMAND, RUN);
        const bool starting = run_start, working = running;
        if (run_done) running = false;
        run_start = false;
        // The datapath, by what it sees in this cycle.
        if (starting)
            core.begin(*run, units + int64_t(commands[run_command].run) * chip.units);
        else if (working)
            core.tick();
        const Command& command = commands[index];
        const bool free = !loader.busy(cycle) && (!working || (command.opcode == LOAD && command.overlap));
        if (cycle >= issue && free) begin(command);
    }
    void begin(const Command& command) {
        begins[index] = cycle;
        if (command.opcode == LOAD) loader.start(cycle, command.count);
        if (command.opcode == RUN) {
            running = run_start = true;
            run = runs + command.run;
            run_command = index;
        }
        done = command.opcode == END;
        if (!done) issue = cycle + commands[++index].words + 2 + later();
    }
    // Of a deep pipeline: two registers behind the program store, and two cycles for the check.
    int32_t later() const { return 4 * chip.deep; }
};

}  // namespace

// Begin of every command in cycles after the start, in `begins`; the last one is END. Returns the cycles of all, or -1
// for a program that stops: then `cause` is {command, fault, detail}.
extern "C" __attribute__((visibility("default"))) int64_t mixcim_cycles(
    const Chip* chip, const UnitKind* kinds, const Tile* tiles, const Command* commands, const Run* runs,
    const UnitRun* units, int64_t* begins, int32_t* cause) {
    Stop stop;
    Core core(*chip, kinds, tiles, stop);
    LayerController controller{
        .chip = *chip, .commands = commands, .runs = runs, .units = units, .begins = begins, .core = core};
    controller.go();
    if (controller.done) return controller.cycle;
    cause[0] = controller.run_command, cause[1] = stop.fault, cause[2] = stop.detail;
    return -1;
}
