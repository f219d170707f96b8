// Blocks of a simulated chip (blocks.py): each is a verilated model that its parent's model calls.
//
// In every cycle the parent calls `edge` once, then `settle` at least once, with the inputs as they are by then. A block
// rests while nothing changes in it. It has proved that when, over two edges with the same inputs, its whole state but
// the contents of memories stayed the same: the second edge wrote what the first had written to the same words, so
// the contents did not change either, and the next edge can only do the same again. What `edge` returns changes unless
// the block rests, and is part of the parent's state: a block rests only if all blocks inside do.
#ifndef MIXCIM_BLOCKS_H
#define MIXCIM_BLOCKS_H

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "svdpi.h"
#include "verilated.h"

namespace mixcim {

// A memory of the chip: `depth` words of `word` bytes each, lowest address and lowest bits first.
struct Memory {
    std::string name;
    uint8_t* data;
    uint64_t word, depth;
};

class Block;

// What belongs to one simulated chip. Make one before the top model is evaluated for the first time, on the same
// thread, and keep it until after the last evaluation.
class Chip {
public:
    Chip();
    ~Chip();
    Chip(const Chip&) = delete;
    Chip& operator=(const Chip&) = delete;
    std::vector<Memory> memories;
    // Let every block be evaluated again: somebody has changed memories.
    void wake();
    uint64_t size() const { return blocks.size(); }
    uint64_t resting() const;

private:
    friend class Block;
    std::vector<std::unique_ptr<Block>> blocks;
};

// Called by each memory at time 0.
void add_memory(const std::string& path, void* data, uint64_t word, uint64_t depth);

template <typename Word, std::size_t depth>
void memory(const std::string& path, VlUnpacked<Word, depth>& contents) {
    add_memory(path, &contents, sizeof(Word), depth);
}

class Block {
public:
    virtual ~Block() = default;

protected:
    explicit Block(const char* path);
    static void add(Block* block);
    void begin(void* state, std::size_t size);  // before the first evaluation
    void end();                                 // after it: memories are known
    // Called in each cycle in which no input changed, after its edge.
    void look() {
        if (wait) wait--;
        else compare();
    }
    void disturb() {
        resting = false;
        equal = -1;
    }
    bool resting = false;
    const std::string path;

private:
    friend class Chip;
    friend void add_memory(const std::string&, void*, uint64_t, uint64_t);
    struct Segment {
        const uint8_t* data;
        std::size_t size;
    };
    void compare();
    void exclude(const uint8_t* data, std::size_t size);
    std::vector<Segment> segments;  // the state without memories
    std::vector<uint8_t> before;
    Block* outer = nullptr;
    int equal = -1;  // edges that changed nothing since `before` was taken; -1: it was not
    unsigned wait = 0, patience = 2;
};

template <typename Model, typename Root>
class BlockOf final : public Block {
public:
    static BlockOf* create(const char* path) {
        BlockOf* const block = new BlockOf(path);
        add(block);
        block->begin(block->top.rootp, sizeof(Root));
        block->top.clk = 0;
        block->top.load = 0;
        block->top.eval();
        block->end();
        return block;
    }
    ~BlockOf() override { top.final(); }

    uint8_t edge() {
        if (!resting) {
            if (top.clk) {
                top.clk = 0;
                top.eval();
            }
            top.clk = 1;
            top.eval();
            edged = true;
            tick ^= 1;
        }
        return tick;
    }

    void settle(bool changed) {
        if (changed || !loaded) {
            top.clk = 0;
            top.load = !top.load;
            top.eval();
            loaded = true;
            disturb();
        } else if (edged) {
            look();
        }
        edged = false;
    }

    Model top;

private:
    explicit BlockOf(const char* path) : Block(path), top{Verilated::threadContextp(), Block::path.c_str()} {}
    uint8_t tick = 0;
    bool edged = false, loaded = false;
};

template <typename Value>
inline bool put(Value& port, Value value) {
    if (port == value) return false;
    port = value;
    return true;
}

template <std::size_t words>
inline bool put(VlWide<words>& port, const svBitVecVal* value) {
    if (!std::memcmp(port.data(), value, words * sizeof(EData))) return false;
    std::memcpy(port.data(), value, words * sizeof(EData));
    return true;
}

template <typename Value>
inline void get(Value* result, const Value& port) {
    *result = port;
}

template <std::size_t words>
inline void get(svBitVecVal* result, const VlWide<words>& port) {
    std::memcpy(result, port.data(), words * sizeof(EData));
}

// Number of ones, by the processor's own instruction where the compiler may use it (build.py); Verilator's runtime
// function for words of more than 64 bits counts by shifts and masks.
inline IData count_ones(int words, const EData* word) {
    IData count = 0;
    for (int index = 0; index < words; index++) count += __builtin_popcount(word[index]);
    return count;
}

}  // namespace mixcim

#define VL_COUNTONES_I(word) static_cast<IData>(__builtin_popcount(word))
#define VL_COUNTONES_Q(word) static_cast<IData>(__builtin_popcountll(word))
#define VL_COUNTONES_W(words, word) mixcim::count_ones(words, word)

#endif
