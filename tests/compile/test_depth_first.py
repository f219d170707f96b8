"""Depth-first: programs in strips give every tensor of the definition, and strips are there only where they must be."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from compile.random_networks import FORMATS, random_codes, random_network, random_rules
from compile.test_compiler import compare, differences, workload
from compile.test_passes import MANY, fields_of
from host.model_bus import ModelBus
from mixcim.commands.report import chain_lines, layer_cycles
from mixcim.compile.allocate import allocate, used_words
from mixcim.compile.compiler import compile_network
from mixcim.compile.fold import fold_input
from mixcim.compile.network import Layer, LayerKind, Network, Quantisation, Residual, Tensor
from mixcim.compile.placement import place
from mixcim.compile.strips import Chain, chain_end, readers, strip_rows
from mixcim.errors import MixcimError
from mixcim.host.processor import Processor
from mixcim.model import ProcessorModel
from mixcim_hdl.commands import Opcode
from mixcim_hdl.config import ChipConfig
from mixcim_hdl.floating import ElementFormat
from mixcim_hdl.presets import PRESETS
from mixcim_hdl.program import Program
from workloads import needs_workloads

PAPER = PRESETS["paper"]


def with_memory(chip: ChipConfig, words: int) -> ChipConfig:
    """The chip with so many activation words, rounded up to whole banks."""
    return dataclasses.replace(
        chip, activation_words=max(-(-words // chip.activation_banks) * chip.activation_banks, 16)
    )


def needed_words(network: Network, chip: ChipConfig, rules: list[str]) -> int:
    """Activation words that the network needs layer by layer."""
    folded, _ = fold_input(network, chip)
    return used_words(allocate(folded, chip, place(folded, chip, rules)))


def strips_of(program: Program) -> int:
    """Strips of all chains."""
    return sum({record.chain: len(record.ranges) for record in program.layers if record.chain}.values())


#: Units for whatever the random networks need.
ROOMY = dataclasses.replace(MANY, activation_words=1 << 15, sram_slots=2048, tiny_words=4096, program_commands=4096)


def tower(seed: int, formats: Sequence[ElementFormat] = FORMATS[:1]) -> Network:
    """A random network most of whose layers can be one chain."""
    return random_network(seed, 7, widest=24, formats=formats, largest_side=22, chained=True)


def check_in_little_memory(network: Network, chip: ChipConfig, rules: list[str]) -> None:
    """Compare with ever less memory, down to what no strips fit in."""
    needed = needed_words(network, chip, rules)
    assert strips_of(compile_network(network, with_memory(chip, needed), rules, "exact")) == 0
    for part in (0.85, 0.7, 0.55, 0.45):
        small = with_memory(chip, int(needed * part))
        try:
            program = compile_network(network, small, rules, "exact")
        except MixcimError as error:
            assert "activation memory of chip" in str(error)
            break
        assert differences(network, program, small) == ([], 0)


@pytest.mark.parametrize("seed", range(60))
def test_integer_networks_in_strips_equal_the_definition(seed: int) -> None:
    network = tower(seed)
    check_in_little_memory(network, ROOMY, [] if seed % 2 else random_rules(network, seed, ROOMY.channels))


@pytest.mark.parametrize("seed", range(40))
def test_floating_networks_in_strips_equal_the_definition(seed: int) -> None:
    check_in_little_memory(tower(seed, FORMATS), ROOMY, [])


@pytest.mark.parametrize("formats", [FORMATS[:1], FORMATS])
def test_random_networks_run_in_strips(formats: Sequence[ElementFormat]) -> None:
    """The two tests above compare something."""
    fitting = pooled = 0
    for seed in range(20):
        network = tower(seed, formats)
        needed = needed_words(network, ROOMY, [])
        try:
            program = compile_network(network, with_memory(ROOMY, int(0.85 * needed)))
        except MixcimError:
            continue
        fitting += strips_of(program) > 1
        pooled += any(record.chain and "pool" in record.kernels for record in program.layers)
    assert fitting >= 8
    assert (pooled >= 4) == (ElementFormat.BF16 in formats)


def block_network(
    height: int = 30, *, wide: int = 24, residual: bool = True, stride: int = 1, blocks: int = 1, seed: int = 0
) -> Network:
    """Blocks as of MobileNet-v2 over (height, 6, 4): expand to `wide` channels, depthwise 3 x 3, project to 4, add."""
    random = np.random.default_rng(seed)
    quantisation = Quantisation(0.05, 20, False)
    shape = (height, 6, 4)
    tensors = {"in": Tensor("in", shape, quantisation)}
    layers: list[Layer] = []
    previous = "in"

    def add(name: str, kind: LayerKind, kernel: int, kernels: int, step: int = 1, summand: str | None = None) -> None:
        nonlocal previous
        rows, columns, channels = tensors[previous].shape
        pad = kernel // 2
        shape = ((rows - 1) // step + 1, (columns - 1) // step + 1, kernels)
        dense = (kernels, kernel, kernel, channels) if kind is LayerKind.CONVOLUTION else (kernels, kernel, kernel)
        weight = random.integers(-127, 128, dense).astype(np.int8)
        taps = kernel * kernel * (channels if kind is LayerKind.CONVOLUTION else 1)
        tensors[name] = Tensor(name, shape, quantisation)
        layers.append(
            Layer(
                *(f"{name}", kind, previous, name, (kernel, kernel), (step, step), (pad, pad, pad, pad), weight),
                *(np.zeros(kernels, np.int32), np.full(kernels, 1 / 80 / np.sqrt(taps), np.float32), (0, 255)),
                residual=Residual(summand, quantisation, (0, 255)) if summand else None,
            )
        )
        previous = name

    for block in range(blocks):
        source = previous
        add(f"expand{block}", LayerKind.CONVOLUTION, 1, wide)
        add(f"depthwise{block}", LayerKind.DEPTHWISE, 3, wide, stride)
        add(f"project{block}", LayerKind.CONVOLUTION, 1, 4, summand=source if residual and stride == 1 else None)
    return Network("blocks", tensors, layers, "in", previous, "NHWC", shape, tensors[previous].shape)


SMALL = dataclasses.replace(PRESETS["tiny"], activation_words=1024, program_commands=256)


def test_highest_strips_that_fit() -> None:
    """In and out take 180 words each, a row of 24 channels 36: (rows + 2) + rows of them beside."""
    network = block_network()
    for rows in (2, 3, 5, 6, 10):
        words = 2 * 180 + 36 * (2 * rows + 2)
        program = compile_network(network, with_memory(SMALL, words))
        assert [len(record.ranges) for record in program.layers] == [-(-30 // rows)] * 3
        assert differences(network, program, with_memory(SMALL, words)) == ([], 0)
    with pytest.raises(MixcimError, match="activation memory"):
        compile_network(network, with_memory(SMALL, 2 * 180 + 36 * 4 - 2))


def test_layer_by_layer_where_that_fits() -> None:
    network = block_network()
    needed = needed_words(network, with_memory(SMALL, 1 << 14), [])
    assert strips_of(compile_network(network, with_memory(SMALL, needed))) == 0
    assert strips_of(compile_network(network, with_memory(SMALL, needed - 2))) > 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("residual", [False, True])
def test_blocks_in_strips(residual: bool, stride: int) -> None:
    network = block_network(26, residual=residual, stride=stride, blocks=2)
    for words in (1000, 800, 600, 520):
        program = compile_network(network, with_memory(SMALL, words))
        assert strips_of(program)
        assert differences(network, program, with_memory(SMALL, words)) == ([], 0)


def test_a_sum_does_not_overwrite_what_later_strips_take() -> None:
    network = block_network()
    program = compile_network(network, with_memory(SMALL, 600))
    source, output = program.tensors["in"], program.tensors["project0"]
    assert output.address >= source.address + source.words or source.address >= output.address + output.words


def test_tensors_inside_a_chain_are_put_together_of_strips() -> None:
    network = block_network()
    program = compile_network(network, with_memory(SMALL, 600))
    for name in ("expand0", "depthwise0"):
        place = program.tensors[name]
        rows = [row for part in place.strips for row in range(part.row, part.row + part.rows)]
        assert set(rows) == set(range(30))
        assert place.words < 30 * 6 * 6
        assert place.command == place.parts[-1].command == max(program.layers[name != "expand0"].commands)
    assert program.tensors["project0"].strips == ()


def test_records_of_interleaved_layers_name_every_command_once() -> None:
    network = block_network(blocks=2)
    program = compile_network(network, with_memory(SMALL, 600))
    commands = [index for record in program.layers for index in record.commands]
    assert sorted(commands) == list(range(len(program.commands) - 1))
    assert program.layers[0].commands != sorted(range(len(program.layers[0].commands)))
    again = Program.from_bytes(program.to_bytes(), "it")
    assert (again.layers, again.tensors) == (program.layers, program.tensors)
    assert chain_lines(program)[0].startswith("depth-first: expand0, depthwise0, project0")


def test_cycles_of_interleaved_commands_go_to_their_layers() -> None:
    chip = with_memory(SMALL, 600)
    network = block_network()
    program = compile_network(network, chip)
    cycles = np.arange(len(program.commands), dtype=np.int64) ** 2 + 1
    spent = layer_cycles(program, cycles)
    for record, own in zip(program.layers, spent, strict=True):
        assert own == sum(index**2 + 1 for index in record.commands)
    assert sum(spent) == cycles[:-1].sum()
    beside = [load["overlap"] for load in fields_of(program, chip, Opcode.LOAD)]
    assert any(beside)


def test_weights_of_a_chain_stay_where_they_fit() -> None:
    network = block_network()
    program = compile_network(network, with_memory(SMALL, 600))
    assert len(program.layers[0].ranges) > 2
    loads = fields_of(program, with_memory(SMALL, 600), Opcode.LOAD)
    assert len({(load["unit"], load["source"]) for load in loads}) == len(loads)
    crowded = dataclasses.replace(with_memory(SMALL, 600), sram_slots=6, sram_segments=1, tiny_words=96)
    program = compile_network(network, crowded, ["expand0=sram", "project0=sram"])
    loads = fields_of(program, crowded, Opcode.LOAD)
    assert len({(load["unit"], load["source"]) for load in loads}) < len(loads)
    assert differences(network, program, crowded) == ([], 0)


@pytest.mark.parametrize("seed", range(20))
def test_strips_compute_what_the_next_layer_takes(seed: int) -> None:
    network = block_network(17, stride=1 + seed % 2, blocks=2, seed=seed)
    heights = [network.tensors[layer.output].shape[0] for layer in network.layers]
    chain = Chain(seed % 3, 5, 1 + seed % 5)
    strips = strip_rows(network, chain)
    assert [row for rows in strips for row in rows[-1]] == list(range(heights[-1]))
    for rows, (number, index) in itertools.product(strips, enumerate(chain.layers)):
        if not number:
            continue
        layer = network.layers[index]
        taken = {row * layer.stride[0] - layer.padding[0] + ky for row in rows[number] for ky in range(layer.kernel[0])}
        assert set(rows[number - 1]) == {row for row in taken if 0 <= row < heights[index - 1]}


def test_windows_of_padding_alone_are_in_no_chain() -> None:
    """A strip of the rows before them would have none."""
    network = block_network()
    assert chain_end(network, 0, readers(network)) == 2
    layers = network.layers
    layers[1] = dataclasses.replace(layers[1], padding=(3, 1, 0, 1))
    assert chain_end(network, 0, readers(network)) == 0
    layers[1] = dataclasses.replace(layers[1], padding=(0, 1, 3, 1))
    assert chain_end(network, 0, readers(network)) == 0


def test_keep_all_runs_layer_by_layer() -> None:
    network = block_network()
    with pytest.raises(MixcimError, match="leave out keep_all"):
        compile_network(network, with_memory(SMALL, 600), keep_all=True)
    assert strips_of(compile_network(network, with_memory(SMALL, 4096), keep_all=True)) == 0


@pytest.mark.parametrize("format", [None, "BF16"])
def test_host_puts_tensors_together_as_the_model_does(format: str | None) -> None:
    chip = with_memory(SMALL, 600)
    network = block_network()
    if format is not None:
        network = tower(2, (ElementFormat[format],))
        chip = with_memory(ROOMY, int(0.85 * needed_words(network, ROOMY, [])))
    program = compile_network(network, chip)
    assert strips_of(program)
    place = program.tensors[program.input]
    codes = random_codes(network, 1).astype(place.type)
    model = ProcessorModel(chip, program)
    model.run(codes, capture=list(program.tensors))
    processor = Processor(ModelBus(chip, program), chip)
    processor.load(program)
    seen: dict[str, np.ndarray] = {}
    processor.run_stepwise(codes[0], seen.__setitem__)
    assert seen.keys() == program.tensors.keys()
    for name, values in seen.items():
        assert np.array_equal(values, model.captured[name][0]), name


@needs_workloads
def test_mobilenet_fits_the_published_buffers() -> None:
    network, codes = workload("mobilenet")
    program = compile_network(network, PAPER)
    chains: dict[int, list[str]] = {}
    for record in program.layers:
        if record.chain:
            chains.setdefault(record.chain, []).append(record.kind)
    block = ["convolution", "depthwise", "convolution"]
    assert chains[1] == chains[2] == chains[3] == block
    assert [record.chain for record in program.layers[1:4]] == [1, 1, 1]
    assert strips_of(program) <= 20
    assert len(program.commands) <= PAPER.program_commands
    assert compare(network, program, PAPER, codes) == ([], 0)
