"""The GGUF reader: blocks on paper, and every file against the `gguf` package, bit for bit."""

import struct
import time

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from course_lib.pretrained import gguf as ours
from course_lib.pretrained.gguf import read_gguf
from course_lib.pretrained.gguf_blocks import (
    FORMATS,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    decode_bf16,
    decode_q4_0,
    decode_q4_1,
    decode_q5_0,
    decode_q5_1,
    decode_q8_0,
    nibbles,
)
from course_lib.pretrained.smollm2 import smollm2_file


@pytest.fixture(scope="module")
def smollm2():
    """SmolLM2's file, as we and as the gguf package open it."""
    path = smollm2_file()
    return read_gguf(path), gguf.GGUFReader(path)


@pytest.fixture
def small(tmp_path):
    """A file that the gguf package wrote, with one tensor of each format."""
    return write_small(tmp_path / "small.gguf")


def write_small(path, alignment=32):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(alignment)
    writer.add_name("klein, aber fein: äöü")
    writer.add_block_count(3)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_add_bos_token(False)
    writer.add_token_list(["a", "Ġb", "日本"])
    writer.add_token_types([1, 1, 3])
    draw = np.random.default_rng(0)
    for kind, form in FORMATS.items():
        weights = draw.normal(size=(3, 64)).astype(np.float32)
        data = gguf.quantize(weights, Kind(kind))
        writer.add_tensor(form.name, data, raw_dtype=Kind(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def bits(array):
    """Floats as whole numbers, so that 0 and -0 differ and nan equals itself."""
    return array.reshape(-1).view(np.uint32)


def same_bits(ours, theirs):
    return ours.dtype == theirs.dtype == np.float32 and np.array_equal(
        bits(ours), bits(theirs)
    )


# ---- blocks


def one_block(layout, **fields):
    block = np.zeros(1, dtype=layout)
    for name, value in fields.items():
        block[name] = value
    return block


def test_a_byte_holds_weight_i_in_its_low_half_and_weight_i_plus_16_in_its_high_half():
    codes = np.arange(16, dtype=np.uint8)[None] | 0xA0
    assert nibbles(codes).tolist() == [[*range(16), *[10] * 16]]


def test_q4_0_codes_0_8_and_15_are_minus_eight_zero_and_seven_scales():
    codes = np.zeros(16, dtype=np.uint8)
    codes[0], codes[1] = 0x80, 0xF8  # weights 0, 16 and weights 1, 17
    weights = decode_q4_0(one_block(Q4_0, scale=0.25, codes=codes))[0]
    assert weights[[0, 16, 1, 17]].tolist() == [-2.0, 0.0, 0.0, 1.75]


def test_q4_1_adds_its_offset_after_scaling():
    weights = decode_q4_1(one_block(Q4_1, scale=0.5, offset=-3.0, codes=0xF2))[0]
    assert weights[0] == 2 * 0.5 - 3
    assert weights[16] == 15 * 0.5 - 3


def test_q5_0_takes_the_fifth_bit_of_weight_i_from_bit_i():
    high = [0b00000010, 0, 0b00000001, 0]  # bits 1 and 16
    weights = decode_q5_0(one_block(Q5_0, scale=1.0, high=high, codes=0x43))[0]
    assert weights[0] == 3 - 16
    assert weights[1] == 16 + 3 - 16
    assert weights[16] == 16 + 4 - 16
    assert weights[17] == 4 - 16


def test_q5_1_takes_the_fifth_bit_and_adds_its_offset():
    high = [0, 0, 0, 0b10000000]  # bit 31
    block = one_block(Q5_1, scale=2.0, offset=1.0, high=high, codes=0x10)
    assert decode_q5_1(block)[0, [15, 31]].tolist() == [1.0, 2 * 17 + 1]


def test_q8_0_codes_are_signed():
    codes = np.array([-128, 127] + [0] * 30, dtype=np.int8)
    weights = decode_q8_0(one_block(Q8_0, scale=0.5, codes=codes))[0]
    assert weights[:3].tolist() == [-64.0, 63.5, 0.0]


def test_bf16_is_the_upper_half_of_a_float32():
    halves = np.array([0x3F80, 0xC000, 0x7F80], dtype=np.uint16)
    assert decode_bf16(halves).tolist() == [1.0, -2.0, np.inf]


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: FORMATS[kind].name)
def test_a_block_is_as_long_as_ggml_says(kind):
    form = FORMATS[kind]
    assert (form.weights, form.block.itemsize) == gguf.GGML_QUANT_SIZES[Kind(kind)]
    assert form.name == Kind(kind).name


@pytest.mark.filterwarnings("ignore:.*invalid value.*:RuntimeWarning")
@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: FORMATS[kind].name)
def test_random_bytes_mean_the_same_to_us_and_to_gguf(kind):
    form = FORMATS[kind]
    draw = np.random.default_rng(kind)
    raw = draw.integers(256, size=500 * form.block.itemsize, dtype=np.uint8)
    theirs = gguf.dequantize(raw, Kind(kind))
    decoded = form.decode(raw.view(form.block)).reshape(-1)
    number = np.isfinite(theirs)
    assert number.mean() > 0.9
    assert np.array_equal(np.isnan(decoded), np.isnan(theirs))
    assert same_bits(decoded[number], theirs[number])


# ---- files


def test_every_tensor_of_smollm2_is_bit_equal_to_gguf_dequantize(smollm2):
    file, reader = smollm2
    assert len(reader.tensors) == 272
    assert list(file.table) == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors:
        mine = file.tensor(tensor.name)
        theirs = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert mine.shape == tuple(tensor.shape[::-1])
        assert same_bits(mine, theirs), tensor.name


def test_smollm2_has_the_metadata_that_gguf_reads(smollm2):
    file, reader = smollm2
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert list(file.metadata) == list(fields)
    assert len(file.metadata["tokenizer.ggml.tokens"]) == 49_152
    for key, field in fields.items():
        assert file.metadata[key] == field.contents(), key


def test_metadata_of_98_thousand_strings_is_read_in_well_under_a_second():
    started = time.process_time()
    read_gguf(smollm2_file())
    assert time.process_time() - started < 0.9  # 0.2 s measured; three times 0.3 s


@pytest.mark.parametrize("alignment", [32, 64, 256])
def test_a_file_written_by_gguf_comes_back_in_every_format(tmp_path, alignment):
    path = write_small(tmp_path / "small.gguf", alignment)
    file, reader = read_gguf(path), gguf.GGUFReader(path)
    assert file.metadata["general.name"] == "klein, aber fein: äöü"
    assert file.metadata["llama.block_count"] == 3
    assert file.metadata["tokenizer.ggml.add_bos_token"] is False
    assert file.metadata["tokenizer.ggml.tokens"] == ["a", "Ġb", "日本"]
    assert file.metadata["tokenizer.ggml.token_type"] == [1, 1, 3]
    assert set(file.table) == {form.name for form in FORMATS.values()}
    for tensor in reader.tensors:
        theirs = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert same_bits(file.tensor(tensor.name), theirs.reshape(3, 64))


def test_blocks_are_a_view_of_the_file_and_tensors_belong_to_the_caller(small):
    file = read_gguf(small)
    assert not file.blocks("Q4_0").flags.writeable
    assert file.blocks("Q4_0").shape == (6,)
    for name in file.table:
        tensor = file.tensor(name)
        tensor[:] = 7.0  # the file stays as it is
        assert (file.tensor(name) != 7.0).any()


# ---- what is refused, in one sentence


def refusal(path):
    with pytest.raises(ValueError, match=path.name) as error:
        read_gguf(path)
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip", b"GGML" * 9])
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert "is not a GGUF file" in refusal(path)


def test_a_file_cut_off_anywhere_is_refused(small, tmp_path):
    whole = small.read_bytes()
    path = tmp_path / "cut.gguf"
    used = len(whole) - 16  # the last tensor is padded: 3 * 64 * 2 bytes fill 384
    for length in [*range(4, 1500, 7), used // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "ends too early" in refusal(path), length


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_an_unknown_version_is_refused(small, version):
    data = bytearray(small.read_bytes())
    data[4:8] = struct.pack("<I", version)
    small.write_bytes(data)
    assert f"has GGUF version {version}" in refusal(small)


def test_an_unknown_type_of_metadata_is_refused(small):
    data = small.read_bytes()
    place = data.index(b"general.architecture") + len("general.architecture")
    small.write_bytes(data[:place] + struct.pack("<I", 99) + data[place + 4 :])
    assert "metadata of unknown type 99" in refusal(small)


def test_a_tensor_of_unknown_type_is_refused_and_the_others_are_read(small):
    data = small.read_bytes()
    place = data.index(b"Q5_0") + 4 + 4 + 16  # its name, number of sizes, two sizes
    assert data[place : place + 4] == struct.pack("<I", Kind.Q5_0)
    small.write_bytes(data[:place] + struct.pack("<I", Kind.Q6_K) + data[place + 4 :])
    file = read_gguf(small)
    with pytest.raises(
        ValueError, match=r"Tensor Q5_0 .* has type 14, which this reader"
    ):
        file.tensor("Q5_0")
    assert file.tensor("Q5_1").shape == (3, 64)


def test_a_tensor_that_is_not_there_is_refused_by_name(small):
    with pytest.raises(AssertionError, match=r"no tensor .blk.0. in small.gguf"):
        read_gguf(small).tensor("blk.0")


def test_the_reader_imports_neither_gguf_nor_torch():
    source = ours.__spec__.loader.get_source(ours.__name__)
    assert "import gguf" not in source
    assert "torch" not in source
