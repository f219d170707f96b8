#include "blocks.h"

#include <algorithm>

namespace mixcim {

namespace {
thread_local Chip* chip = nullptr;
thread_local Block* current = nullptr;  // the block that is being made
constexpr unsigned LONGEST_WAIT = 64;   // cycles between two looks at a busy block

// Path in the whole chip of what a model calls `path`: the model of the block whose path is `outer`, null for the top's.
// A block's own names begin with its path, the module of its shell, and `inner` (blocks.py).
std::string whole_path(const std::string& path, const std::string* outer) {
    if (!outer) return path;
    const std::size_t inner = path.find(".inner.", outer->size());
    return *outer + (inner == std::string::npos ? "" : path.substr(inner + 6));
}
}  // namespace

Chip::Chip() { chip = this; }

Chip::~Chip() {
    if (chip == this) chip = nullptr;
    while (!blocks.empty()) blocks.pop_back();  // those inside before those outside
}

void Chip::wake() {
    for (auto& block : blocks) block->disturb();
}

uint64_t Chip::resting() const {
    return std::count_if(blocks.begin(), blocks.end(), [](const auto& block) { return block->resting; });
}

void add_memory(const std::string& path, void* data, uint64_t word, uint64_t depth) {
    if (current) current->exclude(static_cast<const uint8_t*>(data), word * depth);
    const std::string name = whole_path(path, current ? &current->path : nullptr);
    if (chip) chip->memories.push_back({name, static_cast<uint8_t*>(data), word, depth});
}

Block::Block(const char* name) : path(whole_path(name, current ? &current->path : nullptr)) {}

void Block::add(Block* block) {
    if (chip) chip->blocks.emplace_back(block);
}

void Block::begin(void* state, std::size_t size) {
    segments.push_back({static_cast<const uint8_t*>(state), size});
    outer = current;
    current = this;
}

void Block::end() {
    current = outer;
    std::size_t size = 0;
    for (const Segment& segment : segments) size += segment.size;
    before.resize(size);
}

void Block::exclude(const uint8_t* data, std::size_t size) {
    std::vector<Segment> left;
    for (const Segment& segment : segments) {
        const uint8_t *begin = segment.data, *end = begin + segment.size;
        if (data + size <= begin || data >= end) {
            left.push_back(segment);
            continue;
        }
        if (data > begin) left.push_back({begin, static_cast<std::size_t>(data - begin)});
        if (data + size < end) left.push_back({data + size, static_cast<std::size_t>(end - (data + size))});
    }
    segments = left;
}

void Block::compare() {
    if (equal >= 0) {
        const uint8_t* old = before.data();
        for (const Segment& segment : segments) {
            if (std::memcmp(old, segment.data, segment.size)) {
                equal = -1;
                patience = std::min(2 * patience, LONGEST_WAIT);
                wait = patience;
                return;
            }
            old += segment.size;
        }
        if (++equal < 2) return;
        resting = true;
        patience = 2;
        return;
    }
    uint8_t* copy = before.data();
    for (const Segment& segment : segments) {
        std::memcpy(copy, segment.data, segment.size);
        copy += segment.size;
    }
    equal = 0;
}

}  // namespace mixcim
