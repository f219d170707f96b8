"""Tools: one that fails, is killed, has too little memory, does not end, or whose command is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mixcim_fpga import tools
from mixcim_fpga.errors import BoardError, OutOfMemory


def test_a_failing_tool_gives_its_reason(tmp_path):
    with pytest.raises(BoardError, match="yosys failed: .*nix"):
        tools.run_tool("yosys", ["-q", "-p", "nix"], tmp_path)


class Tool:
    """A Python module in the place of a tool, which runs its arguments."""

    def __init__(self, folder, monkeypatch):
        (folder / "a_tool.py").write_text("def run(arguments):\n    exec(arguments[0])\n")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setitem(tools.TOOLS, "tool", ("a_tool", "run"))
        self.folder = folder

    def __call__(self, code, *rest):
        return tools.run_tool("tool", [code], self.folder, *rest)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    return Tool(tmp_path, monkeypatch)


def test_a_tool_that_is_killed_is_told_as_that(tool):
    with pytest.raises(BoardError, match="tool was killed by signal 9; is there too little memory"):
        tool("import os; print('some progress', flush=True); os.kill(os.getpid(), 9)")


def test_a_tool_without_memory_is_told_as_that(tool, monkeypatch):
    monkeypatch.setattr(tools, "MEMORY_MEGABYTES", 1)
    with pytest.raises(OutOfMemory, match="tool needs more than the 4 GB .*; choose a smaller chip"):
        tool("raise RuntimeError('thrown Wasm exception')")


def test_a_tool_is_stopped_by_what_it_says_and_leaves_nothing(tool, monkeypatch):
    monkeypatch.chdir(tool.folder.parent)
    tool.folder = Path(tool.folder.name)  # as --keep may be
    code = "import tempfile, time; print(tempfile.mkdtemp(), 'round and round', flush=True); time.sleep(60)"
    with pytest.raises(tools.ToolStopped) as stopped:
        tool(code, None, lambda log: "round" in log)
    assert str(tool.folder.resolve()) in (tool.folder / "tool.log").read_text()
    assert 0 < stopped.value.cost.seconds < 30 and stopped.value.cost.megabytes > 1
    assert sorted(path.name for path in tool.folder.iterdir() if path.name != "__pycache__") == [
        "a_tool.py",
        "tool.log",
    ]


def test_a_tool_that_ends_while_its_log_is_read_is_stopped_all_the_same(tool):
    def endless(_):
        while "done" not in (tool.folder / "tool.log").read_text():
            time.sleep(0.05)
        time.sleep(0.5)  # it has ended by now, without anybody having asked
        return True

    with pytest.raises(tools.ToolStopped):
        tool("print('done', flush=True)", None, endless)


def test_a_tool_does_not_outlive_ctrl_c(tool):
    def waiting(seconds):
        if (tool.folder / "process").exists() and (tool.folder / "process").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tool("import os, time; open('process', 'w').write(str(os.getpid())); time.sleep(60)", waiting)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tool.folder / "process").read_text()), 0)


def test_a_build_that_is_terminated_ends_its_tool(tool):
    code = (
        "from pathlib import Path; from mixcim import cli; from mixcim_fpga import tools; "
        "tools.TOOLS['tool'] = ('a_tool', 'run'); cli.run = lambda: tools.run_tool('tool', "
        "['import os, time; open(\"process\", \"w\").write(str(os.getpid())); time.sleep(60)'], Path('.')); cli.main()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(tool.folder)])}
    command = subprocess.Popen([sys.executable, "-c", code], cwd=tool.folder, env=environment)
    process = tool.folder / "process"
    while not (process.exists() and process.read_text()):
        assert command.poll() is None
        time.sleep(0.05)
    command.terminate()
    assert command.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(process.read_text()), 0)
