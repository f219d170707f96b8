"""The `mixcim` command: its sub-commands, and what becomes of errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import click

from mixcim_hdl.config import ConfigError
from mixcim_hdl.program import ProgramError

from .commands.group import LazyCommands
from .errors import MixcimError

#: Sub-command -> (module in mixcim.commands, one line of help).
COMMANDS = {
    "compile": ("compile", "Compile a network for a chip into a program file."),
    "run": ("run", "Run a program or a network on inputs, on the model, on the simulated RTL or on a board."),
    "cycles": ("cycles", "Predict the cycles of a program or a network, layer by layer, exactly and without RTL."),
    "demo": ("demo", "Classify handwritten digits on the simulated RTL and compare with the model and ONNX Runtime."),
    "info": ("info", "Show a chip: sizes, number formats, memories, peak work per cycle, registers, commands."),
    "write-verify": ("write_verify", "Program a program's memristor cells by pulses; repair columns by spares."),
    "tune": ("tune", "Find word-line tables for the memristor reads of a network from calibration data."),
    "figures": ("figures", "Make a figure that the project shows: records, table and plot."),
    "fpga": ("fpga", "Run networks on an FPGA board, and check a board."),
    "verilog": ("verilog", "Write a chip's Verilog."),
    "bench": ("bench", "Measure speed, cycles, utilisation and build times, and write them as records."),
}
USER_ERROR, INTERRUPTED = 2, 130  #: exit codes


@click.group(
    cls=LazyCommands,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="mixcim")
def cli() -> None:
    """An open mixed-precision memristor and SRAM compute-in-memory processor: compile, run, look inside."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 (a comparison differs), 2 (bad input), 130 (Ctrl-C).

    `arguments`: without the program's name; default: the process's own. Bad input is one line on stderr.
    """
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="mixcim", standalone_mode=False
        )
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return USER_ERROR
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (MixcimError, ConfigError, ProgramError) as error:
        print(f"mixcim: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        # The reader (head, less) has left; without this, closing stdout at exit would complain again.
        sys.stdout = None
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"mixcim: '{error.filename}': {error.strerror}; check the path and its permissions", file=sys.stderr)
        return USER_ERROR


def main() -> None:
    """Entry point of the `mixcim` script."""
    # Else a tool that a command waits for would go on, and what it has written would stay.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(run())
