"""Folders of pictures as inputs."""

import numpy as np
import pytest
from PIL import Image

from mixcim.commands.image_folder import read_image_folder
from mixcim.errors import MixcimError


def write(path, value, size=(4, 3)):
    """A picture of one grey value; `size`: width, height."""
    Image.fromarray(np.full((size[1], size[0]), value, np.uint8)).save(path)


def test_pictures_come_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "12_b.png", 7)
    write(tmp_path / "003_a.PNG", 9)
    (tmp_path / "notes.txt").write_text("no picture")
    arrays = read_image_folder(tmp_path)
    assert arrays["images"].shape == (2, 3, 4, 3)
    assert arrays["images"].dtype == np.uint8
    assert arrays["images"][:, 0, 0, 0].tolist() == [9, 7]
    assert arrays["labels"].tolist() == [3, 12]


def test_labels_need_a_number_in_every_name(tmp_path):
    write(tmp_path / "1_a.png", 7)
    write(tmp_path / "cat.png", 7)
    assert "labels" not in read_image_folder(tmp_path)


def test_bad_folders_are_refused_in_one_line(tmp_path):
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
