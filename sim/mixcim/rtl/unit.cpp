// C interface of a verilated pipeline: arrays of operands in, one element per cycle; arrays of results out.
//
// In front of this file `Unit` puts the ports: #define INPUTS(PORT) PORT(a) PORT(b), and OUTPUTS likewise. An element of
// a port's array is as large as Verilator's variable: 1, 2, 4 or 8 bytes, or 32-bit words from the lowest on.
#include <cstdint>
#include <cstring>

#include "Vtop.h"
#include "blocks.h"
#include "verilated.h"

extern "C" __attribute__((visibility("default"))) void mixcim_stream(uint64_t count, uint64_t latency,
                                                                     const uint8_t* const* inputs,
                                                                     uint8_t* const* outputs) {
    VerilatedContext context;
    mixcim::Chip chip;
    Vtop top{&context, "top"};
    top.rst = 0;
    top.clk = 0;
    for (uint64_t cycle = 0; cycle < count + latency; cycle++) {
        // Operands change while the clock is low; results are taken before the edge that ends the cycle.
        const uint8_t* const* input = inputs;
        uint8_t* const* output = outputs;
        if (cycle < count) {
#define SET(port) memcpy(&top.port, *input++ + cycle * sizeof top.port, sizeof top.port);
            INPUTS(SET)
        }
        top.eval();
        if (cycle >= latency) {
#define TAKE(port) memcpy(*output++ + (cycle - latency) * sizeof top.port, &top.port, sizeof top.port);
            OUTPUTS(TAKE)
        }
        top.clk = 1;
        top.eval();
        top.clk = 0;
    }
    top.final();
}
