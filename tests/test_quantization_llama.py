"""llama.cpp itself opens the guide's file and writes our text.

Its binding compiles for a quarter of an hour, so it is an extra of its own:
`pip install -e .[llama]`, then `pytest -m slow tests/test_quantization_llama.py`.
"""

import pytest

from course_lib import exam, pretrained
from course_lib.quantization.gguf_file import to_gguf

pytestmark = pytest.mark.slow
QUESTIONS = ["What pet does Ada have?", "Where does Ben live?", "What is 2 + 3 × 4?"]


@pytest.fixture(scope="module")
def course():
    return pretrained.load("sft")


@pytest.fixture(scope="module")
def reader(course, tmp_path_factory):
    llama_cpp = pytest.importorskip("llama_cpp")
    path = tmp_path_factory.mktemp("llama") / "F32.gguf"
    to_gguf(*course, path, "F32")
    return llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, verbose=False)


@pytest.mark.parametrize("question", QUESTIONS)
def test_llama_cpp_continues_our_tokens_with_our_text(course, reader, question):
    model, tokenizer = course
    ids = exam.prompt_ids(question, tokenizer)
    said = reader.create_completion(ids, max_tokens=30, temperature=0)
    ours = exam.replies(model, tokenizer, [question], 30)[0]
    assert said["choices"][0]["text"].strip() == ours.strip()


@pytest.mark.parametrize("text", QUESTIONS)
def test_llama_cpp_finds_our_tokenizer_in_the_file(course, reader, text):
    theirs = reader.tokenize(text.encode(), add_bos=False, special=False)
    assert theirs == course[1].encode(text)
