// C interface of the verilated processor: clock, reset, interrupt, and a master on its AXI4-Lite bus.
//
// One bus cycle: inputs are set while the clock is low, the handshakes are sampled, then the clock rises. A valid,
// once up, stays up with its payload until it is taken; the responses are taken at once.
#include <cstdint>
#include <new>

#include "Vtop.h"
#include "blocks.h"
#include "verilated.h"
#if defined(MIXCIM_TRACE_FST)
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif defined(MIXCIM_TRACE_VCD)
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// A bus on which nothing moves for so many cycles will not move any more: the slowest access takes a few dozen.
constexpr uint64_t STALL_LIMIT = 100000;
constexpr int STATUS_STALLED = -1;

struct Simulation {
    VerilatedContext context;
    mixcim::Chip chip;
    Vtop top{&context, "top"};
    uint64_t cycles = 0;
#ifdef VM_TRACE_ANY
    Trace* trace = nullptr;
#endif

    void dump(uint64_t time) {
#ifdef VM_TRACE_ANY
        if (trace) trace->dump(time);
#else
        (void)time;
#endif
    }

    // Verilator gives a port another name where its own is a word that C++ compilers may reserve.
    bool interrupt() const { return top.__SYM__interrupt; }

    // Let inputs that changed while the clock was low take effect, so that outputs can be sampled.
    void settle() { top.eval(); }

    // One rising edge, from settled inputs. Waveforms have 10 time units per cycle; inputs change with the clock low.
    void edge() {
        dump(10 * cycles);
        top.clk = 1;
        top.eval();
        dump(10 * cycles + 5);
        top.clk = 0;
        top.eval();
        cycles++;
    }

    void idle_bus() {
        top.s_axi_awvalid = 0;
        top.s_axi_wvalid = 0;
        top.s_axi_bready = 0;
        top.s_axi_arvalid = 0;
        top.s_axi_rready = 0;
        top.s_axi_awprot = 0;
        top.s_axi_arprot = 0;
        settle();
    }

    int write(uint32_t address, uint32_t step, const uint32_t* data, uint64_t count, uint64_t* failed) {
        uint64_t addresses = 0, words = 0, responses = 0, stalled = 0;
        int status = 0;
        top.s_axi_wstrb = 0xF;
        top.s_axi_bready = 1;
        while (responses < count) {
            top.s_axi_awvalid = addresses < count;
            top.s_axi_awaddr = address + static_cast<uint32_t>(addresses) * step;
            top.s_axi_wvalid = words < count;
            if (words < count) top.s_axi_wdata = data[words];
            settle();
            const bool address_taken = top.s_axi_awvalid && top.s_axi_awready;
            const bool word_taken = top.s_axi_wvalid && top.s_axi_wready;
            const bool response_taken = top.s_axi_bvalid;
            const int response = top.s_axi_bresp;
            edge();
            // After an error, only what is already offered on a channel is completed; nothing new begins.
            const uint64_t offered = (addresses > words ? addresses : words) + 1;
            addresses += address_taken;
            words += word_taken;
            if (response_taken) {
                if (response != 0 && status == 0) {
                    status = response;
                    *failed = responses;
                    if (offered < count) count = offered;
                }
                responses++;
            }
            stalled = (address_taken || word_taken || response_taken) ? 0 : stalled + 1;
            if (stalled == STALL_LIMIT) {
                *failed = responses;
                status = STATUS_STALLED;
                break;
            }
        }
        idle_bus();
        return status;
    }

    int read(uint32_t address, uint32_t step, uint32_t* data, uint64_t count, uint64_t* failed) {
        uint64_t addresses = 0, responses = 0, stalled = 0;
        int status = 0;
        top.s_axi_rready = 1;
        while (responses < count) {
            top.s_axi_arvalid = addresses < count;
            top.s_axi_araddr = address + static_cast<uint32_t>(addresses) * step;
            settle();
            const bool address_taken = top.s_axi_arvalid && top.s_axi_arready;
            const bool response_taken = top.s_axi_rvalid;
            const int response = top.s_axi_rresp;
            const uint32_t word = top.s_axi_rdata;
            edge();
            const uint64_t offered = addresses + 1;
            addresses += address_taken;
            if (response_taken) {
                if (response != 0 && status == 0) {
                    status = response;
                    *failed = responses;
                    if (offered < count) count = offered;
                }
                data[responses++] = word;
            }
            stalled = (address_taken || response_taken) ? 0 : stalled + 1;
            if (stalled == STALL_LIMIT) {
                *failed = responses;
                status = STATUS_STALLED;
                break;
            }
        }
        idle_bus();
        return status;
    }
};

}  // namespace

EXPORT Simulation* mixcim_create() {
    Simulation* simulation = new (std::nothrow) Simulation;
    if (!simulation) return nullptr;
#ifdef VM_TRACE_ANY
    simulation->context.traceEverOn(true);
#endif
    simulation->top.clk = 0;
    simulation->top.rst = 0;
    simulation->idle_bus();
    return simulation;
}

EXPORT void mixcim_destroy(Simulation* simulation) {
#ifdef VM_TRACE_ANY
    if (simulation->trace) simulation->trace->close();
    delete simulation->trace;
#endif
    // Scopes leave the thread's context, which may be that of another simulation, even of one that is gone.
    Verilated::threadContextp(&simulation->context);
    simulation->top.final();
    delete simulation;
}

EXPORT void mixcim_reset(Simulation* simulation, uint64_t cycles) {
    simulation->idle_bus();
    simulation->top.rst = 1;
    simulation->settle();
    for (uint64_t i = 0; i < cycles; i++) simulation->edge();
    simulation->top.rst = 0;
    simulation->settle();
}

EXPORT uint64_t mixcim_cycles(const Simulation* simulation) { return simulation->cycles; }

EXPORT int mixcim_interrupt(const Simulation* simulation) { return simulation->interrupt(); }

// Up to `limit` cycles, fewer when `stop_at_interrupt` and the interrupt is up; returns how many.
EXPORT uint64_t mixcim_run(Simulation* simulation, uint64_t limit, int stop_at_interrupt) {
    uint64_t done = 0;
    while (done < limit && !(stop_at_interrupt && simulation->interrupt())) {
        simulation->edge();
        done++;
    }
    return done;
}

// 0, or a bus response other than OKAY, or -1 when the bus stalls; `failed` is then the number of the word.
EXPORT int mixcim_write(Simulation* simulation, uint32_t address, uint32_t step, const uint32_t* data, uint64_t count,
                        uint64_t* failed) {
    return simulation->write(address, step, data, count, failed);
}

EXPORT int mixcim_read(Simulation* simulation, uint32_t address, uint32_t step, uint32_t* data, uint64_t count,
                       uint64_t* failed) {
    return simulation->read(address, step, data, count, failed);
}

// The chip's memories, for a back door: how many; path, contents and sizes of one of them. See blocks.h.
EXPORT uint64_t mixcim_memories(const Simulation* simulation) { return simulation->chip.memories.size(); }

EXPORT const char* mixcim_memory(const Simulation* simulation, uint64_t index, uint8_t** data, uint64_t* word,
                                 uint64_t* depth) {
    const mixcim::Memory& memory = simulation->chip.memories.at(index);
    *data = memory.data;
    *word = memory.word;
    *depth = memory.depth;
    return memory.name.c_str();
}

// After contents were changed: nothing may rely on having seen them.
EXPORT void mixcim_wake(Simulation* simulation) { simulation->chip.wake(); }

// How many blocks there are, and how many of them rest now.
EXPORT uint64_t mixcim_blocks(const Simulation* simulation) { return simulation->chip.size(); }

EXPORT uint64_t mixcim_resting(const Simulation* simulation) { return simulation->chip.resting(); }

// "", "vcd" or "fst": what mixcim_trace writes.
EXPORT const char* mixcim_trace_format() {
#if defined(MIXCIM_TRACE_FST)
    return "fst";
#elif defined(MIXCIM_TRACE_VCD)
    return "vcd";
#else
    return "";
#endif
}

// Begin a waveform file at `path`, or end it when `path` is null. Returns 0, or -1 when there is no such file.
EXPORT int mixcim_trace(Simulation* simulation, const char* path) {
#ifdef VM_TRACE_ANY
    if (simulation->trace) {
        simulation->trace->close();
        delete simulation->trace;
        simulation->trace = nullptr;
    }
    if (!path) return 0;
    simulation->trace = new Trace;
    simulation->context.trace(simulation->trace, 99);
    simulation->trace->open(path);
    return simulation->trace->isOpen() ? 0 : -1;
#else
    (void)simulation;
    return path ? -1 : 0;
#endif
}
