"""An fp64 forward pass of a LLaMA-family GGUF file in numpy.

Independent of CLQuant: the gguf package dequantizes, numpy multiplies, everything after
the dequantized fp32 weights is double precision. Rotary positions turn adjacent pairs
(2i, 2i+1), because GGUF stores the q and k rows of "llama" files permuted for that.

Requirements: pip install numpy gguf
"""
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Llama:
    def __init__(self, path):
        reader = GGUFReader(path)
        if reader.fields["general.architecture"].contents() != "llama":
            raise SystemExit("llama_fp64: the file's architecture is not llama")
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

        def meta(key):
            return reader.fields["llama." + key].contents()

        self.layers = int(meta("block_count"))
        self.width = int(meta("embedding_length"))
        self.heads = int(meta("attention.head_count"))
        self.kv_heads = int(meta("attention.head_count_kv"))
        self.head_dim = self.width // self.heads
        self.rope_dims = int(meta("rope.dimension_count"))
        self.rope_base = float(meta("rope.freq_base"))
        self.eps = float(meta("attention.layer_norm_rms_epsilon"))
        self.context = int(meta("context_length"))
        self.vocab = int(self.tensors["token_embd.weight"].shape[1])

    def weight(self, name):
        """[out, in] (or [cols]) doubles, exact conversions of the dequantized fp32 values."""
        tensor = self.tensors[name]
        shape = tuple(int(n) for n in reversed(tensor.shape))
        return dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float64)

    def norm(self, x, name):
        rstd = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return x * rstd * self.weight(name)

    def rope(self, x):
        """x is [tokens, heads, head_dim], token t at position t."""
        pairs = self.rope_dims // 2
        frequency = self.rope_base ** (-2.0 * np.arange(pairs) / self.rope_dims)
        angle = np.arange(len(x), dtype=np.float64)[:, None] * frequency
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        even, odd = x[..., 0:self.rope_dims:2], x[..., 1:self.rope_dims:2]
        turned = x.copy()
        turned[..., 0:self.rope_dims:2] = even * cos - odd * sin
        turned[..., 1:self.rope_dims:2] = even * sin + odd * cos
        return turned

    def attention(self, q, k, v):
        """One sequence, causal; q [tokens, heads, dim], k and v [tokens, kv_heads, dim]."""
        q, k = self.rope(q), self.rope(k)
        out = np.empty_like(q)
        future = np.triu(np.ones((len(q), len(q)), dtype=bool), 1)
        for head in range(self.heads):
            shared = head // (self.heads // self.kv_heads)
            scores = q[:, head] @ k[:, shared].T / np.sqrt(self.head_dim)
            scores[future] = -np.inf
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            out[:, head] = scores / scores.sum(axis=-1, keepdims=True) @ v[:, shared]
        return out.reshape(len(q), -1)

    def hidden(self, sequences):
        """Normed last hidden states of several id lists, concatenated: each weight is
        dequantized once and multiplies the rows of all sequences."""
        ends = np.cumsum([len(ids) for ids in sequences])
        spans = [slice(end - len(ids), end) for end, ids in zip(ends, sequences)]
        embedding = self.weight("token_embd.weight")
        x = embedding[np.concatenate([np.asarray(ids) for ids in sequences])]
        del embedding
        for layer in range(self.layers):
            block = f"blk.{layer}."
            h = self.norm(x, block + "attn_norm.weight")
            q = (h @ self.weight(block + "attn_q.weight").T).reshape(len(x), self.heads, -1)
            k = (h @ self.weight(block + "attn_k.weight").T).reshape(len(x), self.kv_heads, -1)
            v = (h @ self.weight(block + "attn_v.weight").T).reshape(len(x), self.kv_heads, -1)
            mixed = np.concatenate([self.attention(q[s], k[s], v[s]) for s in spans])
            x = x + mixed @ self.weight(block + "attn_output.weight").T
            h = self.norm(x, block + "ffn_norm.weight")
            gate = h @ self.weight(block + "ffn_gate.weight").T
            up = h @ self.weight(block + "ffn_up.weight").T
            x = x + (gate / (1.0 + np.exp(-gate)) * up) @ self.weight(block + "ffn_down.weight").T
        x = self.norm(x, "output_norm.weight")
        return [x[s] for s in spans]

    def head(self):
        tied = "output.weight" not in self.tensors
        return self.weight("token_embd.weight" if tied else "output.weight")

    def logits(self, sequences):
        """A list of [tokens, vocab] doubles; row i is the prediction after token i."""
        head = self.head()
        return [states @ head.T for states in self.hidden(sequences)]
