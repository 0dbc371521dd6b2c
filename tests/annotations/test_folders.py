import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipe_seg.annotations.folders import Layout, group_of
from pipe_seg.errors import InputDataError
from pipe_seg.schema import Frame


@pytest.fixture
def user(tmp_path: Path, folder: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(folder, tmp_path / "datasets"))


def boxes(root: Path) -> Layout:
    return Layout(root / "PipeBoxSegmentation", "box")


def contours(root: Path) -> Layout:
    return Layout(root / "PipeSegmentation", "contour")


def read(layout: Layout, split: str = "train", without: set[str] | None = None) -> list[Frame]:
    return [frame.read() for frame in layout.frames(split, without=without)]


def problems(layout: Layout, split: str = "train") -> list[str]:
    told = []
    for frame in layout.frames(split):
        try:
            frame.read()
        except InputDataError as error:
            told += error.lines()
    return told


def test_frames_come_sorted_whole_and_unencoded(user: Path) -> None:
    frames = read(boxes(user))
    assert [frame.file_name for frame in frames] == sorted(frame.file_name for frame in frames)
    assert len(frames) == 8
    for frame in frames:
        path = user / "PipeBoxSegmentation/images/train" / frame.file_name
        assert frame.image == path.read_bytes()
        assert frame.segmentation_mask.shape == (256, 320)


def test_siblings_share_a_group() -> None:
    assert {group_of(stem) for stem in ("001481", "001481_0", "001481_2", "001481_10")} == {"001481"}
    assert group_of("cam_1") != group_of("cam_2")


def test_a_split_that_is_all_held_out_is_an_error(user: Path) -> None:
    with pytest.raises(InputDataError, match="every scene here is held out"):
        boxes(user).frames("train", without={f"00000{i}" for i in range(4)})


def test_a_box_never_stands_in_for_a_contour(user: Path) -> None:
    shutil.rmtree(user / "PipeSegmentation/masks/train")
    header = "filename,region_shape_attributes,region_attributes\n"
    names = [path.name for path in (user / "PipeSegmentation/images/train").iterdir()]
    (user / "PipeSegmentation/annotations").mkdir()
    rows = "".join(f'{name},"{{}}","{{}}"\n' for name in names)
    (user / "PipeSegmentation/annotations/via_train.csv").write_text(header + rows)
    frames = read(contours(user))
    assert any(frame.boxes for frame in frames)
    assert not any(frame.segmentation_mask.any() for frame in frames)


def test_a_scene_that_is_held_out_is_left_out(user: Path) -> None:
    frames = read(boxes(user), without={"000001"})
    assert len(frames) == 6
    assert "000001" not in {frame.group_id for frame in frames}


def test_a_frame_without_a_label_is_named_with_the_cure(user: Path) -> None:
    (user / "PipeBoxSegmentation/labels/train/000001_0.txt").unlink()
    (line,) = problems(boxes(user))
    assert "images/train/000001_0.jpg: frame without a label" in line
    assert "labels/train/000001_0.txt" in line


def test_a_missing_mask_is_named_with_the_cure(user: Path) -> None:
    (user / "PipeSegmentation/masks/train/000050_1_mask.png").unlink()
    (line,) = problems(contours(user))
    assert "000050_1.jpg: frame without a label" in line
    assert "masks/train/000050_1_mask.png" in line


def test_a_mask_of_another_size_is_refused(user: Path) -> None:
    path = user / "PipeSegmentation/masks/train/000050_0_mask.png"
    cv2.imwrite(str(path), np.zeros((100, 90), np.uint8))
    (line,) = problems(contours(user))
    assert line == f"{path}: mask size differs from its frame (got 90x100); expected 320x256 as 000050_0.jpg"


def test_a_frame_of_no_bytes_is_named(user: Path) -> None:
    path = user / "PipeBoxSegmentation/images/train/000002_0.jpg"
    path.write_bytes(b"")
    assert problems(boxes(user)) == [f"{path}: empty file; expected a whole image; copy it again"]


def test_an_empty_folder_is_an_error(user: Path) -> None:
    shutil.rmtree(user / "PipeBoxSegmentation/images/train")
    (user / "PipeBoxSegmentation/images/train").mkdir()
    with pytest.raises(InputDataError, match="images/train: no frames here"):
        boxes(user).frames("train")


def test_all_faults_are_told_at_once(user: Path) -> None:
    (user / "PipeBoxSegmentation/labels/train/000000_0.txt").write_text("7 .5 .5 .1 .1\n")
    (user / "PipeBoxSegmentation/labels/train/000003_1.txt").write_text("0 .5 .5 .1 .1\n0 2 .5 .1 .1\n")
    first, second = problems(boxes(user))
    assert "000000_0.txt:1: unknown class" in first
    assert "000003_1.txt:2: box outside the frame" in second


def test_masks_may_be_called_like_their_frames(user: Path) -> None:
    folder = user / "PipeSegmentation/masks/train"
    before = [frame.segmentation_mask for frame in read(contours(user))]
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("_mask", "")))
    for mask, frame in zip(before, read(contours(user)), strict=True):
        np.testing.assert_array_equal(frame.segmentation_mask, mask)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_tag_turns_neither_image_nor_mask(user: Path, orientation: int) -> None:
    import tensorflow as tf

    from pipe_seg import images
    from pipe_seg.data import preprocessing

    path = user / "PipeSegmentation/images/train/000050_0.jpg"
    plain = path.read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    tagged = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    path.write_bytes(tagged)
    assert images.decode(tagged).shape == (256, 320, 3)
    np.testing.assert_array_equal(images.decode(tagged), images.decode(plain))
    decoded = preprocessing.decode(tf.constant(tagged)).numpy()
    np.testing.assert_array_equal(decoded, preprocessing.decode(tf.constant(plain)).numpy())
    assert contours(user).frames("train")[0].read().segmentation_mask.shape == decoded.shape[:2]
