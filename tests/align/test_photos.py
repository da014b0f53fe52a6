import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facewright.align import photos, read_photo
from facewright.align.photos import decode_photo
from facewright.errors import DataError

# Four flat quarters: any turn or mirror of it is another picture.
QUARTERS = np.zeros((40, 60, 3), np.uint8)
QUARTERS[:20, :30], QUARTERS[:20, 30:] = (255, 0, 0), (0, 255, 0)
QUARTERS[20:, :30], QUARTERS[20:, 30:] = (0, 0, 255), (255, 255, 0)

# What a camera stores for each EXIF orientation when the upright picture is `QUARTERS`.
STORED = {
    1: QUARTERS,
    2: QUARTERS[:, ::-1],
    3: QUARTERS[::-1, ::-1],
    4: QUARTERS[::-1],
    5: QUARTERS.transpose(1, 0, 2),
    6: np.rot90(QUARTERS),
    7: np.rot90(QUARTERS, 2).transpose(1, 0, 2),
    8: np.rot90(QUARTERS, -1),
}


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_exif_orientation_is_applied(save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save("turned.png", np.ascontiguousarray(STORED[orientation]), exif=exif)
    np.testing.assert_array_equal(read_photo(path), QUARTERS)


def test_jpeg_is_read_in_rgb_order(save):
    pixels = read_photo(save("photo.jpg", QUARTERS, quality=95, subsampling=0))
    assert np.abs(pixels.astype(int) - QUARTERS)[5:15, 5:25].max() < 8


def test_grey_palette_and_cmyk_become_rgb(save):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(read_photo(save("grey.png", grey)), np.repeat(grey[..., None], 3, axis=2))
    palette = Image.fromarray(QUARTERS).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    np.testing.assert_array_equal(read_photo(save("palette.png", palette)), QUARTERS)
    cmyk = read_photo(save("print.jpg", Image.fromarray(QUARTERS).convert("CMYK"), quality=95, subsampling=0))
    assert np.abs(cmyk.astype(int) - QUARTERS)[5:15, 5:25].max() < 12
    one_bit = Image.fromarray(grey > 127).convert("1")
    assert set(np.unique(read_photo(save("fax.png", one_bit)))) == {0, 255}


def test_transparency_is_laid_on_white(save):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[0, 0, 3], pixels[1, 1, 3] = 255, 128
    upright = read_photo(save("cut-out.png", pixels))
    assert upright[0, 0].tolist() == [200, 0, 0]
    assert upright[3, 3].tolist() == [255, 255, 255]
    assert np.abs(upright[1, 1].astype(int) - [227, 127, 127]).max() <= 1
    marked = Image.new("P", (2, 2), 0)
    marked.putpalette([10, 20, 30, 40, 50, 60])
    marked.putpixel((1, 1), 1)
    marked = read_photo(save("marked.gif", marked, transparency=1))
    assert marked[0, 0].tolist() == [10, 20, 30]
    assert marked[1, 1].tolist() == [255, 255, 255]


def test_sixteen_bit_keeps_the_high_byte(save):
    values = np.array([[0, 128, 129, 257], [32768, 65407, 65408, 65535]], np.uint16)
    for name in ("deep.png", "deep.tif"):
        read = read_photo(save(name, values))
        np.testing.assert_array_equal(read[..., 0], np.round(values / 257).astype(np.uint8))
        assert read.shape == (2, 4, 3)


def test_thirty_two_bit_is_refused_by_name(save):
    path = save("depth.tif", np.ones((3, 3), np.float32))
    with pytest.raises(DataError, match=r"depth\.tif holds 32-bit grey"):
        read_photo(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused_by_name(save, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(f"cut.{suffix}", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"cut\.{suffix}"):
        read_photo(path)


def test_damaged_files_give_pixels_or_a_data_error(save):
    generator = np.random.default_rng(1)
    refused = 0
    for suffix in ("jpg", "png", "webp", "tif", "gif", "bmp"):
        whole = save(f"hurt.{suffix}", QUARTERS).read_bytes()
        for _ in range(40):
            broken = bytearray(whole)
            for place in generator.integers(0, len(whole), 6):
                broken[place] = generator.integers(0, 256)
            try:
                assert decode_photo(io.BytesIO(bytes(broken)), name="hurt").shape[2] == 3
            except DataError:
                refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", r"empty\.jpg is empty"),
        (
            "notes.jpg",
            b"shopping list: eggs, bread and so on",
            r"notes\.jpg cannot be decoded.*no known picture format",
        ),
        ("phone.heic", b"\0\0\0\x18ftypheic" + bytes(40), r"phone\.heic cannot be decoded.*JPEG or PNG"),
    ],
)
def test_files_that_are_no_picture_are_refused_by_name(tmp_path: Path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_photo(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.jpg: No such file"):
        read_photo(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match="cannot read"):
        read_photo(tmp_path)


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(save, monkeypatch):
    path = save("wide.png", QUARTERS)
    monkeypatch.setattr(photos, "MAX_PIXELS", 2399)
    with pytest.raises(DataError, match=r"wide\.png is 60 x 40"):
        read_photo(path)
    monkeypatch.setattr(photos, "MAX_PIXELS", 2400)
    assert read_photo(path).shape == (40, 60, 3)


@pytest.mark.parametrize("side", [11_000, 14_000])  # below and above Pillow's own limit
def test_a_decompression_bomb_is_refused(tmp_path: Path, side):
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png.*megapixels"):
        read_photo(tmp_path / "bomb.png")
