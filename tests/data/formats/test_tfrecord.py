"""TFRecord: three kinds of index, CRCs, and the wire format of an Example against protobuf's own encoder."""

import struct
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tests.data.formats.toy_sets import Listed, content, write

from facewright.data.formats import open_records, read_latent
from facewright.data.formats.example import example_bytes, read_example
from facewright.data.formats.tfrecord import TFRecord, masked_crc
from facewright.data.formats.write_tfrecord import record_bytes
from facewright.errors import DataError, FaceError, InputError


def _example_class() -> type:
    """tf.train.Example, built from a description of its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="toy", syntax="proto3")
    kinds = {"BytesList": 12, "FloatList": 2, "Int64List": 3}
    for name, kind in kinds.items():
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=3)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(kinds, 1):
        feature.field.add(name=name.lower(), number=number, type=11, label=1, type_name=f".toy.{name}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=".toy.Feature")
    features.field.add(name="feature", number=1, type=11, label=3, type_name=".toy.Features.FeatureEntry")
    file.message_type.add(name="Example").field.add(
        name="features", number=1, type=11, label=1, type_name=".toy.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("toy.Example"))


def test_examples_are_those_of_protobuf() -> None:
    example = _example_class()()
    example.features.feature["image"].byteslist.value.extend([b"x" * 300, b"second"])
    example.features.feature["label"].int64list.value.extend([1 << 40, 2])
    example.features.feature["minus"].int64list.value.append(-5)
    example.features.feature["floats"].floatlist.value.append(0.5)
    example.features.feature["none"].byteslist.SetInParent()
    found = read_example(example.SerializeToString(), "here")
    assert found == {"image": b"x" * 300, "label": 1 << 40, "minus": -5}
    back = _example_class().FromString(example_bytes({"image": b"y" * 1000, "label": b"\1\0\0\0"}))
    assert {name: list(value.byteslist.value) for name, value in back.features.feature.items()} == {
        "image": [b"y" * 1000],
        "label": [b"\1\0\0\0"],
    }


@pytest.mark.parametrize("payload", [b"\x0a\x7fabc", b"\xff" * 12, b"\x0a\x03\x0a\x01\x0b", b"\x0a"])
def test_what_is_no_example_is_refused(payload: bytes) -> None:
    with pytest.raises(DataError, match=r"here: not a tf\.train\.Example"):
        read_example(payload, "here")


def test_masked_crc_of_a_known_value() -> None:
    crc = 0xE3069283  # CRC-32C of 123456789, the check value of its catalogue
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def test_every_index_leads_to_the_same_records(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "toy", "tfrecord", shard_records=3)
    shards = sorted((out / "TFR-toy").glob("*.tfrecord"))
    assert [shard.name for shard in shards] == [f"TFR-toy-0000{number}.tfrecord" for number in range(3)]
    assert content(out) == content(out / "TFR-toy.txt") == content(drawn)
    assert content(out / "TFR-toy" / "TFR-toy.index") == content(drawn)
    assert [record.name for record in open_records(out / "TFR-toy" / "TFR-toy.index")] == [
        record.name for record in drawn
    ]
    assert (out / "TFR-toy.txt").read_text().splitlines()[3] == "TFR-toy\t1\t0\t2"
    (out / "TFR-toy.txt").unlink()
    assert open_records(out).path.name == "TFR-toy.index"
    (out / "TFR-toy" / "TFR-toy.index").unlink()
    assert content(out / "TFR-toy") == content(drawn)  # the shards alone, labels from the records


def test_labels_of_a_three_column_index(drawn: Listed, tmp_path: Path) -> None:
    index = write(drawn, tmp_path / "toy", "tfrecord") / "TFR-toy" / "TFR-toy.index"
    given = tmp_path / "mine.txt"
    given.write_text("".join(f"{record.name} {record.label}\n" for record in drawn))  # parted by a space
    assert content(open_records(index, labels=given)) == content(drawn)
    given.write_text("".join(f"{record.name} {record.label}\n" for record in drawn.records[1:]))
    with pytest.raises(DataError, match=r"TFR-toy\.index, line 1: .*mine\.txt has no label for 'p0/0\.jpg'"):
        open_records(index, labels=given)
    given.write_text("".join(f"{record.name} {(record.label + 1) % 3}\n" for record in drawn))
    with pytest.raises(DataError, match=r"row 0 of TFR-toy\.index\): has label 0, but .* says 1"):
        list(open_records(index, labels=given))


def test_what_is_wrong_with_a_record_is_named(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "toy", "tfrecord")
    shard = out / "TFR-toy" / "TFR-toy-00000.tfrecord"
    whole = shard.read_bytes()
    start = int((out / "TFR-toy.txt").read_text().splitlines()[2].split("\t")[2])
    for place, message in (
        (0, "the CRC of its length is wrong"),
        (9, "the CRC of its length is wrong"),
        (200, "the CRC of its .* bytes is wrong"),
    ):
        shard.write_bytes(whole[: start + place] + bytes([whole[start + place] ^ 1]) + whole[start + place + 1 :])
        records = open_records(out)
        assert len([records.read(number) for number in range(8) if number != 2]) == 7
        with pytest.raises(DataError, match=rf"00000\.tfrecord: record at byte {start} \(row 2 of .*{message}"):
            records.read(2)
    shard.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"row 7 of TFR-toy\.txt\): claims"):
        list(open_records(out))
    shard.write_bytes(record_bytes(example_bytes({"text": b"none"})))
    with pytest.raises(DataError, match=r"has no feature `image` or `tensor` of bytes, only \['text'\]"):
        list(open_records(shard, gaps="keep"))
    shard.write_bytes(record_bytes(example_bytes({"image": b"jpg"})))
    with pytest.raises(DataError, match="has no label, nor has its index"):
        list(open_records(shard, gaps="keep"))


def test_what_is_wrong_with_an_index_is_named(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "toy", "tfrecord")
    index = out / "TFR-toy.txt"
    lines = index.read_text().splitlines()
    for changed, message in (
        ("TFR-toy\t0\t0\t1", r"record at byte 0 \(row 8 .*is listed twice"),
        ("TFR-toy\t0\t7", r"line 9: expected name, shard, offset and label"),
        ("TFR-toy\t0\t-7\t1", r"line 9: the offset is '-7'"),
        ("TFR-toy\t0\t7\t1.5", r"line 9: the label is 1\.5"),
        ("TFR-toy\t3\t7\t1", r"no shard TFR-toy-00003\.tfrecord"),
        ("../toy\t0\t7\t1", r"names the set '\.\./toy', which is no plain name"),
    ):
        index.write_text("\n".join([*lines, changed]) + "\n")
        with pytest.raises(FaceError, match=message):
            open_records(out)
    index.write_text("\n".join(line[:-1] + ("9" if line[-1] == "2" else line[-1]) for line in lines) + "\n")
    with pytest.raises(DataError, match=r"row 3 of TFR-toy\.txt\): has label 9, but no record has label 2"):
        open_records(out)


def test_records_past_the_end_are_damaged(drawn: Listed, tmp_path: Path) -> None:
    out = write(drawn, tmp_path / "toy", "tfrecord")
    index, shard = out / "TFR-toy.txt", out / "TFR-toy" / "TFR-toy-00000.tfrecord"
    with index.open("a") as opened:
        opened.write("TFR-toy\t0\t99999999\t1\n")
    records = open_records(out)
    assert [(record.label, record.image) for record in map(records.read, range(8))] == content(drawn)
    with pytest.raises(DataError, match=r"record at byte 99999999 \(row 8 .*: the file ends at byte \d+; fetch it and"):
        records.read(8)
    index.unlink()
    for cut in (30, 3000):  # in the last record's picture, and in the frame of the last but one or its picture
        shard.write_bytes(shard.read_bytes()[:-cut])
        alone = TFRecord(shard)
        with pytest.raises(DataError, match=r"(claims \d+ bytes, more|the file ends)"):
            alone.read(len(alone) - 1)
    shard.write_bytes(b"\0" + shard.read_bytes()[1:])
    with pytest.raises(DataError, match=r"record 0 at byte 0: the CRC of its length is wrong; fetch the file"):
        TFRecord(shard)


def test_latents_keep_their_values(root: Path) -> None:
    folder = root / "tests" / "golden" / "data" / "formats" / "tfrecord_latent"
    records = open_records(folder)
    assert records.latents
    wanted = np.load(folder / "expected_latents.npy")
    assert np.array_equal(np.stack([read_latent(record) for record in records]), wanted)
    with pytest.raises(DataError, match=r"no float32 tensor \(3, 31, 32\)"):
        read_latent(records.read(0), shape=(3, 31, 32))


def test_a_shard_cut_in_its_frame_is_refused(tmp_path: Path) -> None:
    shard = tmp_path / "a.tfrecord"
    shard.write_bytes(struct.pack("<Q", 5))
    with pytest.raises(DataError, match=r"a\.tfrecord: record at byte 0 .*: the file ends at byte 8; fetch it"):
        list(open_records(shard))
    with pytest.raises(InputError, match="no such file or folder"):
        open_records(tmp_path / "b.tfrecord")
