"""`mixcim bench`: measures what the README claims, and prints and writes it as records."""

from __future__ import annotations

from pathlib import Path

import click

from ..bench.chip import build_records
from ..bench.networks import digits_records, workload_records
from ..bench.paper import paper_records
from ..bench.reads import layer_records
from ..bench.record import Record, as_documents, records_table, write_records
from ..bench.simulators import simulator_records
from ..device.workloads import workloads_folder
from .options import FILE, json_option
from .report import console, print_json, progress_bar

DEFAULT_OUTPUT = Path("build/bench.json")


@click.command()
@click.option("--quick", is_flag=True, help="Fewer inputs and repeats, nothing that takes more than some seconds.")
@click.option("--workloads", type=FILE, help="Folder of the workload pack; default: $MIXCIM_WORKLOADS, or beside.")
@click.option("-o", "--output", type=FILE, default=DEFAULT_OUTPUT, show_default=True, help="File of the records.")
@json_option
def command(quick: bool, workloads: Path | None, output: Path, as_json: bool) -> None:
    """Measure speed, cycles, utilisation and build times, all in one run, and write them as records.

    A record is {name, value, unit, paper, goal, met, how}: `paper` and `goal` are the same figure there (null where
    there is none), `how` is rtl, model or estimate. Real networks are measured if the workload pack is there.
    """
    records: list[Record] = []
    workloads = workloads or workloads_folder()
    with progress_bar(as_json) as advance:

        def say(what: str) -> None:
            advance(len(records), 0, what)

        say("simulators on chip tiny")
        found, remarks = simulator_records(quick)
        records += found
        say("Verilog and simulator of chip demo")
        records += build_records("demo", quick)
        if not quick:
            say("Verilog and simulator of chip paper")
            records += build_records("paper")
        say("memristor reads of the model")
        records += layer_records(0.1 if quick else 1.0)
        records += digits_records(quick, say)
        if workloads.is_dir():
            records += workload_records(workloads, quick, say)
            records += paper_records(workloads, quick, say)
        else:
            remarks.append(f"There is no workload pack in '{workloads}': digits only, no other network.")
    write_records(output, records)
    if as_json:
        print_json(as_documents(records))
        return
    screen = console()
    screen.print(records_table(records, "mixcim bench"))
    for remark in remarks:
        screen.print(remark, soft_wrap=True)
    screen.print(f"written: {output} ({len(records)} records)", soft_wrap=True)
