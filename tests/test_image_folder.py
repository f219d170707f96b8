"""Folders of pictures as inputs."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixcim.commands.image_folder import read_image_folder
from mixcim.errors import MixcimError


def write(path: Path, value: int, size: tuple[int, int] = (4, 3)) -> None:
    """A picture of one grey value; `size`: width, height."""
    Image.fromarray(np.full((size[1], size[0]), value, np.uint8)).save(path)


def test_pictures_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "12_b.png", 7)
    write(tmp_path / "003_a.PNG", 9)
    (tmp_path / "notes.txt").write_text("no picture")
    arrays = read_image_folder(tmp_path)
    assert arrays["images"].shape == (2, 3, 4, 3)
    assert arrays["images"].dtype == np.uint8
    assert arrays["images"][:, 0, 0, 0].tolist() == [9, 7]
    assert arrays["labels"].tolist() == [3, 12]


def test_labels_need_a_number_in_every_name(tmp_path: Path) -> None:
    write(tmp_path / "1_a.png", 7)
    write(tmp_path / "cat.png", 7)
    assert "labels" not in read_image_folder(tmp_path)


def test_bad_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MixcimError, match="has no pictures"):
        read_image_folder(tmp_path)
    write(tmp_path / "a.png", 7)
    write(tmp_path / "b.png", 7, (5, 3))
    with pytest.raises(MixcimError, match=r"b.png' has 3 x 5 pixels, 'a.png' 3 x 4: resize"):
        read_image_folder(tmp_path)
    (tmp_path / "b.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(MixcimError, match="cannot be read") as caught:
        read_image_folder(tmp_path)
    assert "\n" not in str(caught.value)


def png_of_header(header: bytes) -> bytes:
    """A PNG file with that IHDR chunk and nothing else."""
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("header", [b"\0\0\0\1", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)])
def test_headers_that_pillow_has_other_errors_for(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png_of_header(header))
    with pytest.raises(MixcimError, match="a.png' cannot be read"):
        read_image_folder(tmp_path)


def test_sixteen_bits_are_not_cut_to_white(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 4), 1000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(MixcimError, match="a.png' has more than 8 bits a sample: convert it to 8 bits"):
        read_image_folder(tmp_path)


def test_numbers_beyond_any_class_are_no_labels(tmp_path: Path) -> None:
    write(tmp_path / f"{10**20}_a.png", 7)
    assert "labels" not in read_image_folder(tmp_path)
