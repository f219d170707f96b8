// C interface of a verilated design with a UART: clock, reset, and a host's UART at its pins `rx` and `tx`.
//
// serial.py puts the names of the ports before this: MIXCIM_CLOCK, and where there are such, MIXCIM_RESET (which is
// active at the level MIXCIM_RESET_ACTIVE), MIXCIM_BUSY and MIXCIM_FAULT.
//
// The host side is made of levels over time, as a cable carries them, and shares nothing with the design's UART. Its
// bits may have another length than the design's. Noise inverts a pin for some cycles, now and then.
#include <cstdint>
#include <deque>
#include <new>

#include "Vtop.h"
#include "blocks.h"
#include "verilated.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int DATA_BITS = 8;

// Inverts a level now and then. `threshold` / 2**32: probability, in each cycle, that a disturbance begins.
struct Noise {
    uint64_t state = 1;
    uint32_t threshold = 0, longest = 1;
    uint32_t left = 0;
    uint64_t events = 0;

    uint64_t random() {  // SplitMix64
        uint64_t value = state += 0x9E3779B97F4A7C15u;
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
        return value ^ (value >> 31);
    }

    bool on() {
        if (!threshold) return false;
        if (left) {
            left--;
            return true;
        }
        if (static_cast<uint32_t>(random() >> 32) >= threshold) return false;
        events++;
        left = static_cast<uint32_t>(random() % longest);
        return true;
    }
};

struct Simulation {
    VerilatedContext context;
    mixcim::Chip chip;
    Vtop top{&context, "top"};
    uint64_t cycles = 0;
    double bit;  // cycles of a bit of the host

    std::deque<uint8_t> waiting;  // bytes that the host still has to send
    bool sending = false;
    uint32_t frame = 0;  // start bit, data, stop bit of the byte on the line
    double sent_from = 0;

    bool receiving = false;
    bool line = true;  // as the host saw it last
    uint32_t received = 0;
    int samples = 0;
    double sample_at = 0;
    uint64_t framing_errors = 0;
    Noise to_device, to_host;

    bool host_level() {
        if (sending && cycles >= sent_from + (DATA_BITS + 2) * bit) sending = false;
        if (!sending && !waiting.empty()) {
            frame = 1u << (DATA_BITS + 1) | static_cast<uint32_t>(waiting.front()) << 1;
            waiting.pop_front();
            // Back to back, unless the line was idle.
            const double end = sent_from + (DATA_BITS + 2) * bit;
            sent_from = end > cycles - 1.0 ? end : cycles;
            sending = true;
        }
        if (!sending) return true;
        const int number = static_cast<int>((cycles - sent_from) / bit);
        return frame >> number & 1;
    }

    // The byte that is complete in this cycle, or -1.
    int host_sample(bool level) {
        const bool fell = line && !level;
        line = level;
        if (!receiving) {
            if (fell) {
                receiving = true;
                samples = 0;
                received = 0;
                sample_at = cycles + bit / 2;
            }
            return -1;
        }
        if (cycles < sample_at) return -1;
        sample_at += bit;
        if (samples == 0 && level) receiving = false;  // no start bit: a disturbance
        received |= static_cast<uint32_t>(level) << samples;
        if (++samples < DATA_BITS + 2) return -1;
        receiving = false;
        if (!level) {
            framing_errors++;
            return -1;
        }
        return received >> 1 & 0xFF;
    }

    void edge() {
        top.MIXCIM_CLOCK = 1;
        top.eval();
        top.MIXCIM_CLOCK = 0;
        top.eval();
        cycles++;
    }

    void reset(bool active) {
#ifdef MIXCIM_RESET
        top.MIXCIM_RESET = active == MIXCIM_RESET_ACTIVE;
#else
        (void)active;
#endif
        top.eval();
    }
};

}  // namespace

EXPORT Simulation* mixcim_serial_create(double bit) {
    Simulation* simulation = new (std::nothrow) Simulation;
    if (!simulation) return nullptr;
    simulation->bit = bit;
    simulation->sent_from = -(DATA_BITS + 2) * bit;
    simulation->top.MIXCIM_CLOCK = 0;
    simulation->top.rx = 1;
    simulation->reset(false);
    return simulation;
}

EXPORT void mixcim_serial_destroy(Simulation* simulation) {
    Verilated::threadContextp(&simulation->context);  // see driver.cpp
    simulation->top.final();
    delete simulation;
}

EXPORT void mixcim_serial_reset(Simulation* simulation, uint64_t cycles) {
    simulation->reset(true);
    for (uint64_t i = 0; i < cycles; i++) simulation->edge();
    simulation->reset(false);
}

EXPORT uint64_t mixcim_serial_cycles(const Simulation* simulation) { return simulation->cycles; }

// Bytes without a stop bit that the host has seen, and disturbances on either line.
EXPORT uint64_t mixcim_serial_framing_errors(const Simulation* simulation) { return simulation->framing_errors; }

EXPORT uint64_t mixcim_serial_disturbances(const Simulation* simulation) {
    return simulation->to_device.events + simulation->to_host.events;
}

// Bit 0: busy, bit 1: fault; 0 where the design has no such port.
EXPORT int mixcim_serial_lights(const Simulation* simulation) {
    int lights = 0;
#ifdef MIXCIM_BUSY
    lights |= simulation->top.MIXCIM_BUSY;
#endif
#ifdef MIXCIM_FAULT
    lights |= simulation->top.MIXCIM_FAULT << 1;
#endif
    return lights;
}

// Bytes that the host has still to send, the one on the line included.
EXPORT uint64_t mixcim_serial_waiting(const Simulation* simulation) {
    return simulation->waiting.size() + simulation->sending;
}

// Disturbances of 1 to `longest` cycles on both lines, with that probability (in 2**-32) a cycle.
EXPORT void mixcim_serial_noise(Simulation* simulation, uint64_t seed, uint32_t threshold, uint32_t longest) {
    for (Noise* noise : {&simulation->to_device, &simulation->to_host}) {
        noise->state = seed++;
        noise->threshold = threshold;
        noise->longest = longest;
    }
}

// Send `count` bytes behind those still waiting, and run `cycles` cycles, fewer when there are `room` bytes in `answer`.
// Returns how many bytes came.
EXPORT uint64_t mixcim_serial_exchange(Simulation* simulation, const uint8_t* bytes, uint64_t count, uint64_t cycles,
                                       uint8_t* answer, uint64_t room) {
    simulation->waiting.insert(simulation->waiting.end(), bytes, bytes + count);
    uint64_t came = 0;
    for (uint64_t i = 0; i < cycles && came < room; i++) {
        const bool level = simulation->host_level() != simulation->to_device.on();
        if (simulation->top.rx != level) {
            simulation->top.rx = level;
            simulation->top.eval();  // settled before the edge
        }
        const int byte = simulation->host_sample(simulation->top.tx != simulation->to_host.on());
        if (byte >= 0) answer[came++] = static_cast<uint8_t>(byte);
        simulation->edge();
    }
    return came;
}
