"""Named chips. `demo` is the chip of `make demo`; `tiny` is small enough for Amaranth's own simulator."""

from __future__ import annotations

from .config import ChipConfig

PRESETS = {
    chip.name: chip
    for chip in (
        ChipConfig(
            name="tiny",
            rows=16,
            channels=4,
            memristor_slots=64,
            spare_columns=1,
            sram_slots=64,
            sram_segments=4,
            tiny_words=256,
            accumulator_tiles=8,
            activation_words=1024,
            activation_banks=2,
            weight_words=1024,
            program_commands=64,
            parameter_tiles=64,
            output_lanes=2,
        ),
        ChipConfig(name="demo"),
        # Nature 639, 617 (2025): 4 engines, memristor 4 x 16 Mb (4 cells x 2 polarities x 2 bit a weight), SRAM-CIM
        # 4 x 256 kb, buffers 512 kB. Banks of 128 rows x 16 kernels; the sizes that nothing public states are ours.
        ChipConfig(
            name="paper",
            engines=4,
            rows=128,
            memristor_banks=64,
            memristor_slots=32,
            sram_banks=8,
            sram_slots=8,
            sram_segments=4,
            tiny_banks=8,
            tiny_words=512,
            vector_queue=4,
            accumulator_tiles=96,
            activation_words=32768,
            activation_banks=16,
            feeder_words=8,
            window_words=128,
            weight_words=65536,
            program_commands=1024,
            parameter_tiles=2048,
            output_lanes=16,
            aligned_bits=16,
        ),
        # Boards (docs/fpga_boards.md has why). `ulx3s`: ResNet-20 in INT8 on an ECP5 of 85k LUTs, all weights on chip:
        # few slots, in distributed RAM, loaded from the weight store in block RAM while the bank works.
        ChipConfig(
            name="ulx3s",
            channels=8,
            memristor_banks=0,
            sram_slots=16,
            sram_planes=4,
            tiny_words=16,
            accumulator_tiles=8,
            activation_words=4096,
            feeder_words=4,
            weight_words=4616,
            program_commands=144,
            parameter_tiles=128,
            output_lanes=2,
            deep_pipeline=1,
            aligned_bits=0,
        ),
        # The demo network on an ECP5 of 25k LUTs.
        ChipConfig(
            name="ecp5-25f",
            rows=16,
            channels=8,
            memristor_banks=0,
            sram_slots=32,
            tiny_words=16,
            accumulator_tiles=8,
            activation_words=1024,
            activation_banks=2,
            weight_words=2048,
            window_words=0,
            program_commands=48,
            parameter_tiles=32,
            output_lanes=1,
            deep_pipeline=1,
            aligned_bits=0,
        ),
        # Room for a 224 x 224 network layer by layer, on few units: for the model, and for slow but whole RTL runs.
        ChipConfig(
            name="large",
            memristor_slots=4096,
            sram_slots=2048,
            tiny_words=2048,
            accumulator_tiles=128,
            activation_words=1 << 18,
            weight_words=1 << 17,
            program_commands=512,
            parameter_tiles=4096,
            aligned_bits=16,
        ),
    )
}
