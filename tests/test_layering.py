"""Dependencies point one way: contract <- RTL, contract <- model; blocks do not import their siblings."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOTS = [ROOT / name for name in ("hdl", "sim", "fpga")]
HARDWARE = ROOT / "hdl" / "mixcim_hdl"
LINK = ROOT / "fpga" / "mixcim_fpga" / "link"
MODEL = ROOT / "sim" / "mixcim" / "model"
CONTRACT = ("banks", "commands", "config", "files", "floating", "formats", "presets", "program", "registers")
#: Folders of blocks that know nothing of each other; engine and processor connect them.
BLOCKS = ("control", "feeder", "memristor", "sram", "tiny", "output", "pool", "memory")
#: What several blocks build on: storage, and the loops of a RUN.
SHARED = ("mixcim_hdl.primitives.ram", "mixcim_hdl.feeder.walker")


def imported_modules(path: Path) -> set[str]:
    """Full names of all modules and names that a file imports, anywhere in it; relative ones resolved."""
    package = path.relative_to(next(root for root in ROOTS if root in path.parents)).parts[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def imports_any(path: Path, *prefixes: str) -> set[str]:
    """The imports of a file that are one of the modules or inside of one."""
    return {name for name in imported_modules(path) for prefix in prefixes if f"{name}.".startswith(f"{prefix}.")}


def files(folder: Path) -> list[Path]:
    """Python files of a folder, which must not be empty: a moved folder would otherwise pass for ever."""
    found = sorted(folder.rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("path", files(MODEL), ids=lambda path: path.name)
def test_model_imports_numpy_and_the_contract_only(path):
    """And, for its compiled part, the C++ compiler's driver, which knows no hardware."""
    allowed = (
        "__future__",
        "collections",
        "ctypes",
        "dataclasses",
        "enum",
        "functools",
        "numpy",
        "pathlib",
        "typing",
        "warnings",
        "mixcim.errors",
        "mixcim.native",
        "mixcim.model",
        *(f"mixcim_hdl.{name}" for name in CONTRACT),
    )
    foreign = imported_modules(path) - imports_any(path, *allowed)
    assert not foreign


@pytest.mark.parametrize("name", CONTRACT)
def test_contract_is_plain_python(name):
    path = HARDWARE / f"{name}.py"
    assert not imports_any(path, "amaranth", "mixcim")
    inside = {imported.split(".")[1] for imported in imports_any(path, "mixcim_hdl") if "." in imported}
    assert inside <= set(CONTRACT)


def test_importing_the_model_does_not_load_amaranth():
    import subprocess
    import sys

    code = "import sys, mixcim.model; sys.exit('amaranth' in sys.modules)"
    path = f"{ROOT / 'hdl'}:{ROOT / 'sim'}"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=False).returncode == 0


def test_the_contract_of_the_host_link_is_plain_python():
    assert not imports_any(LINK.parent / "protocol.py", "amaranth", "mixcim", "mixcim_hdl", "mixcim_fpga")


def test_the_host_link_knows_of_the_chip_only_its_bus_and_its_contract():
    """Nor does the processor know that it is on a board."""
    allowed = {f"mixcim_hdl.{name}" for name in (*CONTRACT, "control.axi_lite", "primitives.ram")}
    for path in files(LINK):
        assert not imports_any(path, "mixcim")
        assert imports_any(path, "mixcim_hdl") <= imports_any(path, *allowed), path
    assert not {str(path) for path in files(HARDWARE) if imports_any(path, "mixcim_fpga")}


def test_hardware_never_imports_the_software():
    assert not {(str(path), name) for path in files(HARDWARE) for name in imports_any(path, "mixcim")}


def test_blocks_do_not_import_their_siblings():
    wrong = set()
    for block in BLOCKS:
        siblings = [f"mixcim_hdl.{other}" for other in BLOCKS if other != block]
        for path in files(HARDWARE / block):
            wrong |= {(str(path), name) for name in imports_any(path, *siblings) - imports_any(path, *SHARED)}
    assert not wrong
