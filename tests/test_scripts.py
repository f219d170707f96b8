"""README and manual say what code and measurements say; a difference is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script of the repository, run by this Python."""
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["update_readme.py", "generate_reference.py"])
def test_generated_text_is_up_to_date(script):
    result = run(script, "--check")
    assert result.returncode == 0, result.stderr


def test_another_figure_in_the_readme_is_found(tmp_path):
    readme = tmp_path / "README.md"
    text = (ROOT / "README.md").read_text()
    readme.write_text(text.replace("| 64 x 16 |", "| 65 x 16 |", 1))
    assert readme.read_text() != text
    result = run("update_readme.py", "--check", "--readme", str(readme))
    assert result.returncode == 1 and "out of date" in result.stderr
    assert run("update_readme.py", "--readme", str(readme)).returncode == 0
    assert readme.read_text() == text


def test_another_register_in_the_manual_is_found(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs" / "program.md"
    text = page.read_text()
    page.write_text(text.replace("| 0x0c | CONTROL |", "| 0x0d | CONTROL |"))
    assert page.read_text() != text
    result = run("generate_reference.py", "--check", "--docs", str(tmp_path / "docs"))
    assert result.returncode == 1 and "program.md is out of date" in result.stderr


def test_a_lost_region_is_found(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs" / "program.md"
    page.write_text(page.read_text().replace("<!-- end:registers -->", ""))
    result = run("generate_reference.py", "--check", "--docs", str(tmp_path / "docs"))
    assert result.returncode == 1 and "registers: missing" in result.stderr


def test_links_of_the_manual_lead_to_files():
    import re

    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
