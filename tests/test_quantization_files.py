"""The end of a model's life: GGUF that transformers opens, ONNX that onnxruntime executes, both with our numbers."""

import gguf
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_lib import pretrained
from course_lib.lora.layers import add_lora
from course_lib.pretrained.gguf import read_gguf
from course_lib.pretrained.smollm2 import (
    halves,
    our_name,
    read_model,
    read_tokenizer,
)
from course_lib.quantization.codebooks import nf4
from course_lib.quantization.gguf_file import (
    FILE_TYPES,
    pairs_of_halves,
    their_name,
    to_gguf,
    tokenizer_facts,
)
from course_lib.quantization.linear import linears, quantized
from course_lib.quantization.onnx_file import to_onnx
from course_lib.quantization.structured import without_neurons
from course_lib.sampling.generate import generate
from course_lib.tokenizer import Tokenizer, train_bpe
from course_lib.transformer import Config, Transformer
from tests.tiny import SMALL, transformer

TEXT = "Alice has 12 cats and 345 dogs.\n\nWhere does she live?  äöü 日本\ttab"


@pytest.fixture(scope="module")
def course():
    return pretrained.load("sft")


@pytest.fixture(scope="module")
def folder(course, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf")
    for form in FILE_TYPES:
        to_gguf(*course, path / f"{form}.gguf", form)
    return path


@pytest.fixture(scope="module")
def theirs(folder):
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file="F32.gguf").eval()


def drawn(model, *shape):
    V = model.config.vocabulary
    return torch.randint(4, V, shape, generator=torch.Generator().manual_seed(0))


# ---- GGUF


def test_transformers_opens_the_file_with_equal_logits(course, theirs):
    model, _ = course
    ids = drawn(model, 2, 100)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=1e-4, atol=1e-3)


def test_both_write_the_same_text(course, theirs):
    model, tokenizer = course
    chat = [{"role": "user", "content": "Where does Clara live?"}]
    ids = torch.tensor([tokenizer.encode_chat(chat, reply_next=True)])
    ours = generate(model, ids, 20, temperature=0, end=tokenizer.end, pad=tokenizer.end)
    text = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False,
        eos_token_id=tokenizer.end, pad_token_id=tokenizer.end,
    )  # fmt: skip
    assert ours[0].tolist()[: text.shape[1]] == text[0].tolist()


def test_transformers_finds_our_tokenizer_in_the_file(course, folder):
    _, tokenizer = course
    other = AutoTokenizer.from_pretrained(folder, gguf_file="F32.gguf")
    assert other(TEXT).input_ids == tokenizer.encode(TEXT)
    assert other.decode(tokenizer.encode(TEXT)) == TEXT
    assert other.eos_token_id == tokenizer.end
    chat = [{"role": "user", "content": "Where does 12 live?"}]
    ids = other.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert ids == tokenizer.encode_chat(chat, reply_next=True)


@pytest.mark.parametrize("form", FILE_TYPES)
def test_every_tensor_is_what_gguf_makes_of_it(course, folder, form):
    model, _ = course
    reader = gguf.GGUFReader(folder / f"{form}.gguf")
    own = model.state_dict()
    assert {our_name(t.name) for t in reader.tensors} == set(own)
    for tensor in reader.tensors:
        weights = own[our_name(tensor.name)].numpy()
        if "attn_q" in tensor.name or "attn_k" in tensor.name:
            weights = pairs_of_halves(weights, 4 if "attn_q" in tensor.name else 2)
        kind = tensor.tensor_type.name
        assert kind == ("F32" if weights.ndim == 1 else form)
        wanted = weights.astype("<f2") if kind == "F16" else weights
        if kind not in ("F32", "F16"):
            wanted = gguf.quantize(weights, tensor.tensor_type)
        assert np.asarray(tensor.data).tobytes() == wanted.tobytes()


def test_our_own_reader_gives_the_model_and_its_tokenizer_back(course, folder):
    model, tokenizer = course
    file = read_gguf(folder / "F32.gguf")
    again = read_model(file)
    assert file.metadata["general.name"] == "course model"
    assert again.config.context == model.config.context
    ids = drawn(model, 2, 50)
    with torch.no_grad():
        torch.testing.assert_close(again(ids), model(ids), rtol=1e-5, atol=1e-5)
    parts = read_tokenizer(file)  # which cuts words as SmolLM2 does, not as we do
    assert parts.tokens == tokenizer.tokens
    assert parts.merges == tokenizer.merges
    assert parts.specials == tokenizer.specials


def test_fewer_bits_make_smaller_files_and_larger_differences(course, folder):
    model, _ = course
    ids, sizes, far = drawn(model, 4, 60), [], []
    with torch.no_grad():
        wanted = model(ids)
        for form in ("F32", "F16", "Q8_0", "Q5_0", "Q4_0"):
            path = folder / f"{form}.gguf"
            sizes.append(path.stat().st_size)
            far.append((read_model(read_gguf(path))(ids) - wanted).square().mean())
    assert sizes == sorted(sizes, reverse=True)
    assert far == sorted(far)


def test_names_and_rows_go_there_and_back(course):
    for name in course[0].state_dict():
        assert our_name(their_name(name)) == name
    assert their_name("unembed.weight") == "output.weight"
    rows = np.random.default_rng(0).normal(size=(24, 5))
    assert np.array_equal(halves(pairs_of_halves(rows, 3), 3), rows)


def test_a_head_of_its_own_is_written(tmp_path):
    config = Config(
        vocabulary=261, context=16, width=32, layers=1, hidden=64, tied=False
    )
    model = Transformer(config, generator=torch.Generator().manual_seed(0))
    to_gguf(model, train_bpe(["low low"], 261), tmp_path / "own.gguf", "Q8_0")
    assert read_gguf(tmp_path / "own.gguf").tensor("output.weight").shape == (261, 32)
    hf = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="own.gguf")
    assert not hf.config.tie_word_embeddings


def test_what_cannot_be_written_is_refused(course, tmp_path):
    model, tokenizer = course
    path = tmp_path / "no.gguf"
    gpt2 = Config(positions="learned", norm="layer", mlp="gelu", bias=True)
    narrow = Config(width=48)
    for bad, form, reason in (
        (model, "Q4_K_M", "There is no 'Q4_K_M'; there are F32"),
        (Transformer(gpt2), "F16", "Only models of Llama's kind"),
        (Transformer(narrow), "Q4_0", "do not divide rows of 48"),
        (quantized(model, nf4), "F16", "Write a plain model"),
        (without_neurons(model, 0.5), "F16", "in the shape that its config tells"),
    ):
        with pytest.raises(ValueError, match=reason):
            to_gguf(bad, tokenizer, path, form)
    adapted = transformer()
    add_lora(adapted, ["query"])
    with pytest.raises(ValueError, match="merge its adapter"):
        to_gguf(adapted, tokenizer, path)
    odd = Tokenizer(tokenizer.tokens, [], patterns=r"\S+|\s+")
    with pytest.raises(ValueError, match="has no name for these patterns"):
        tokenizer_facts(odd)
    assert not path.exists()


# ---- ONNX


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """A tiny model, its graph with free sizes, and one with frozen sizes."""
    folder, model = tmp_path_factory.mktemp("onnx"), transformer().eval()
    to_onnx(model, folder / "free.onnx")
    to_onnx(model, folder / "frozen.onnx", dynamic=False)
    return model, folder


def says(path, ids):
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(None, {"ids": ids.numpy()})[0])


@pytest.mark.parametrize("shape", [(2, 16), (1, 1), (3, 7), (5, 16)])
def test_onnxruntime_says_what_the_model_says_at_any_size(graphs, shape):
    model, folder = graphs
    ids = torch.randint(SMALL.vocabulary, shape)
    with torch.no_grad():
        wanted = model(ids)
    torch.testing.assert_close(
        says(folder / "free.onnx", ids), wanted, rtol=0, atol=1e-5
    )


def test_onnxruntime_writes_the_same_text(graphs):
    model, folder = graphs
    session = onnxruntime.InferenceSession(folder / "free.onnx")
    ids = torch.tensor([[1, 2, 3]])
    ours = generate(model, ids, 8, temperature=0)
    for _ in range(8):
        logits = session.run(None, {"ids": ids.numpy()})[0]
        best = int(logits[0, -1].argmax())
        ids = torch.cat([ids, torch.tensor([[best]])], dim=1)
    assert ids.tolist() == ours.tolist()


def test_a_graph_with_frozen_sizes_refuses_others(graphs):
    """E116: an axis that is not declared is the example's for ever."""
    model, folder = graphs
    ids = torch.randint(SMALL.vocabulary, (2, 16))
    with torch.no_grad():
        torch.testing.assert_close(
            says(folder / "frozen.onnx", ids), model(ids), rtol=0, atol=1e-5
        )
    for shape in ((1, 16), (2, 15)):
        with pytest.raises(Exception, match="invalid dimensions for input"):
            says(folder / "frozen.onnx", torch.zeros(shape, dtype=torch.int64))


def test_the_graph_is_valid_and_names_its_free_sizes(graphs):
    _, folder = graphs
    graph = onnx.load(folder / "free.onnx")
    onnx.checker.check_model(graph)
    sizes = [d.dim_param for d in graph.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", "tokens"]
    assert graph.graph.output[0].name == "logits"


def test_dynamic_int8_of_onnxruntime_is_smaller_and_says_nearly_the_same(graphs):
    from onnxruntime.quantization import quantize_dynamic

    model, folder = graphs
    quantize_dynamic(folder / "free.onnx", folder / "int8.onnx")
    ids = torch.randint(SMALL.vocabulary, (2, 16))
    with torch.no_grad():
        torch.testing.assert_close(
            says(folder / "int8.onnx", ids), model(ids), rtol=0, atol=0.05
        )


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    from course_lib.quantization import onnx_file

    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs onnx: pip install onnx onnxscript"):
        to_onnx(transformer(), tmp_path / "no.onnx")
    assert linears(transformer()) != {}
