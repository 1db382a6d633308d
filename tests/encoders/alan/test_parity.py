"""Compare every tower module with a NumPy reference of the paper's equations.

The references process one item without batch, padding or torch layers. They read weights by name.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.tolerances import FLOAT32
from var_plugin.encoders.alan.alignment import StreamWeights, align
from var_plugin.encoders.alan.audio_encoder import AlanAudioEncoder
from var_plugin.encoders.alan.detector import AnomalyDetector
from var_plugin.encoders.alan.embeddings import ClipSequence, gather_clips, sinusoidal_embedding
from var_plugin.encoders.alan.encodings import QueryEncoding, VideoEncoding
from var_plugin.encoders.alan.gated import GatedEmbeddingUnit
from var_plugin.encoders.alan.prompting import PromptingDecoder
from var_plugin.encoders.alan.text_encoder import AlanTextEncoder
from var_plugin.encoders.alan.transformer import CrossEncoder, self_encoder
from var_plugin.encoders.alan.video_encoder import AlanVideoEncoder

HEADS = 2


class Weights:
    """The weights of a module as float64 arrays, by name below a prefix."""

    def __init__(self, module: nn.Module, prefix: str = "") -> None:
        self.state = {k: v.double().numpy() for k, v in module.state_dict().items()}
        self.prefix = prefix

    def __call__(self, name: str) -> np.ndarray:
        return self.state[self.prefix + name]

    def below(self, prefix: str) -> Weights:
        inner = object.__new__(Weights)
        inner.state, inner.prefix = self.state, f"{self.prefix}{prefix}."
        return inner


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def l2_normalize(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


def linear(w: Weights, x):
    return x @ w("weight").T + w("bias")


def layer_norm(w: Weights, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w("weight") + w("bias")


def attention(w: Weights, query, key_value):
    """Multi-head scaled dot-product attention of (length, d) on (other length, d)."""
    d = query.shape[-1]
    w_q, w_k, w_v = np.split(w("in_proj_weight"), 3)
    b_q, b_k, b_v = np.split(w("in_proj_bias"), 3)
    q, k, v = query @ w_q.T + b_q, key_value @ w_k.T + b_k, key_value @ w_v.T + b_v
    size = d // HEADS
    heads = []
    for h in range(HEADS):
        part = slice(h * size, (h + 1) * size)
        heads.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(size)) @ v[:, part])
    return linear(w.below("out_proj"), np.concatenate(heads, -1))


def encoder_layer(w: Weights, x):
    x = layer_norm(w.below("norm1"), x + attention(w.below("self_attn"), x, x))
    return layer_norm(w.below("norm2"), x + linear(w.below("linear2"), np.maximum(linear(w.below("linear1"), x), 0)))


def decoder_layer(w: Weights, x, memory):
    x = layer_norm(w.below("norm1"), x + attention(w.below("self_attn"), x, x))
    x = layer_norm(w.below("norm2"), x + attention(w.below("multihead_attn"), x, memory))
    return layer_norm(w.below("norm3"), x + linear(w.below("linear2"), np.maximum(linear(w.below("linear1"), x), 0)))


def cross_encoder(w: Weights, own, other):
    return layer_norm(w.below("norm"), own + linear(w.below("linear"), attention(w.below("attention"), own, other)))


def detector(w: Weights, x, before=3, after=3):
    for i in range(3):
        kernel, bias = w(f"convolutions.{i}.weight"), w(f"convolutions.{i}.bias")
        padded = np.pad(x, ((before, after), (0, 0)))
        x = np.stack([np.einsum("kc,ock->o", padded[t : t + kernel.shape[2]], kernel) + bias for t in range(len(x))])
        x = np.maximum(x, 0) if i < 2 else sigmoid(x)
    return x[:, 0]


def waves(position: int, d: int):
    angles = [position / 10000 ** (2 * i / d) for i in range(d // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def uniform_clips(length: int, n: int):
    return [math.floor((j + 0.5) * length / n) for j in range(n)]


def systematic_clips(scores, n: int, temperature=0.7):
    p = np.exp(scores / temperature)
    q = np.cumsum(p / p.sum())
    return [next(i for i, edge in enumerate(q) if edge >= r) for r in [(j + 0.5) / n for j in range(n)]]


def sequence(w: Weights, x, parts):
    rows = []
    for segment, clips in enumerate(parts):
        part = x[clips]
        embedded = [(part.mean(0), 0)] + [(c, t + 1) for c, t in zip(part, clips, strict=True)]
        rows += [v + waves(position, x.shape[1]) + w("segments.weight")[segment] for v, position in embedded]
    return np.array(rows)


def pool(x, sizes):
    u = x[: 1 + sizes[0]]
    r = x[1 + sizes[0] :]
    g = (u[0] + r[0]) / 2
    h = (u[1:].mean(0) + r[1:].mean(0)) / 2
    return g, h, np.concatenate([u[1:], r[1:]])


def gated_unit(w: Weights, x):
    y = linear(w.below("linear"), x)
    return l2_normalize(y * sigmoid(linear(w.below("gate"), y)))


def query_head(w: Weights, x):
    streams = np.stack([gated_unit(w.below(f"gated.units.{s}"), x) for s in (0, 1)])
    logits = [linear(w.below(f"weights.linears.{s}"), streams[s])[0] for s in (0, 1)]
    return streams, softmax(np.array(logits))


def check(actual: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.detach().double().numpy(), expected, atol=FLOAT32)


@pytest.mark.parametrize(("padding", "before", "after"), [("same", 3, 3), ("causal", 6, 0)])
def test_detector_matches_the_reference(make_config, padding, before, after):
    module = AnomalyDetector(make_config(detector_padding=padding), 12).eval()
    x = torch.randn(2, 11, 12)
    scores = module(x, torch.ones(2, 11, dtype=torch.bool))
    for row in (0, 1):
        check(scores[row], detector(Weights(module), x[row].double().numpy(), before, after))


def test_sinusoidal_embedding_matches_the_reference():
    embedded = sinusoidal_embedding(torch.tensor([[0, 3, 500]]), 10)
    check(embedded[0], np.stack([waves(p, 10) for p in (0, 3, 500)]))


def test_clip_sequence_matches_the_reference(make_config):
    module = ClipSequence(make_config())
    x = torch.randn(1, 6, 16)
    parts = [[0, 2, 4], [1, 1, 5, 5]]
    samples = [torch.tensor([part]) for part in parts]
    built = module(gather_clips(x, samples), samples, torch.tensor([6]))
    check(built[0], sequence(Weights(module), x[0].double().numpy(), parts))


def test_self_encoder_matches_the_reference(make_config):
    module = self_encoder(make_config())
    x = torch.randn(1, 7, 16)
    check(module(x)[0], encoder_layer(Weights(module), x[0].double().numpy()))


def test_cross_encoder_matches_the_reference(make_config):
    module = CrossEncoder(make_config())
    own, other = torch.randn(1, 7, 16), torch.randn(1, 7, 16)
    check(module(own, other)[0], cross_encoder(Weights(module), own[0].double().numpy(), other[0].double().numpy()))


def test_gated_embedding_unit_matches_the_reference():
    module = GatedEmbeddingUnit(20, 16)
    x = torch.randn(4, 20)
    check(module(x), gated_unit(Weights(module), x.double().numpy()))


def test_gated_embedding_unit_with_batch_norm_matches_the_reference():
    module = GatedEmbeddingUnit(20, 16, batch_norm=True)
    x = torch.randn(4, 20)
    w = Weights(module)
    y = linear(w.below("linear"), x.double().numpy())
    gate = linear(w.below("gate"), y)
    normalised = (gate - gate.mean(0)) / np.sqrt(gate.var(0) + 1e-5)
    check(module(x), l2_normalize(y * sigmoid(normalised)))


def test_stream_weights_match_the_reference():
    module = StreamWeights(16, 2)
    x = torch.randn(3, 2, 16)
    w = Weights(module)
    logits = [linear(w.below(f"linears.{s}"), x[:, s].double().numpy())[:, 0] for s in (0, 1)]
    check(module(x), softmax(np.stack(logits, -1)))


def test_alignment_matches_the_reference():
    video = VideoEncoding(torch.randn(3, 2, 16), torch.randn(3, 2, 16), *[torch.empty(0)] * 3)
    weights = [torch.softmax(torch.randn(4, 2), -1) for _ in range(2)]
    query = QueryEncoding(torch.randn(4, 2, 16), torch.randn(4, 2, 16), *weights)
    expected = np.zeros((3, 4))
    for i in range(3):
        for j in range(4):
            for alpha, v, t, w in ((0.3, video.cls, query.cls, weights[0]), (0.7, video.avg, query.avg, weights[1])):
                for stream in (0, 1):
                    a, b = v[i, stream].double().numpy(), t[j, stream].double().numpy()
                    expected[i, j] += alpha * float(w[j, stream]) * (a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
    check(align(video, query, alpha=0.3), expected)


def test_prompting_decoder_matches_the_reference(make_config):
    module = PromptingDecoder(make_config())
    nn.init.normal_(module.mask_embedding)
    words, clips = torch.randn(1, 6, 20), torch.randn(1, 9, 16)
    masked = [2, 3]
    phrase_mask = torch.zeros(1, 6, dtype=torch.bool)
    phrase_mask[0, masked] = True
    real = torch.tensor([[False, True, True, True, True, False]])
    w = Weights(module)
    x = words[0].double().numpy()
    x[masked] = w("mask_embedding")
    # The reference works on one caption without special tokens and padding.
    decoded = decoder_layer(w.below("decoder"), linear(w.below("word_projection"), x[1:5]), clips[0].double().numpy())
    check(module(words, real, phrase_mask, clips), linear(w.below("vocabulary"), decoded[[1, 2]]))


def test_video_encoder_matches_the_reference(make_config, video_batch):
    module = AlanVideoEncoder(make_config()).eval()
    encoded = module(video_batch["object_features"], video_batch["motion_features"], video_batch["clip_mask"])
    w = Weights(module)
    for row, length in enumerate((20, 9, 1)):
        raw = [video_batch[f"{s}_features"][row, :length].double().numpy() for s in ("object", "motion")]
        scores = detector(w.below("detector"), np.concatenate(raw, -1))
        parts = [uniform_clips(length, 5), systematic_clips(scores, 4)]
        streams = [
            encoder_layer(
                w.below(f"self_encoders.{s}"),
                sequence(w.below(f"sequences.{s}"), linear(w.below(f"projections.{s}"), raw[s]), parts),
            )
            for s in (0, 1)
        ]
        crossed = [cross_encoder(w.below(f"cross_encoders.{s}"), streams[s], streams[1 - s]) for s in (0, 1)]
        check(encoded.anomaly_scores[row, :length], scores)
        assert encoded.clip_index[row].tolist() == parts[0] + parts[1]
        for stream in (0, 1):
            g, h, clips = pool(crossed[stream], (5, 4))
            check(encoded.cls[row, stream], g)
            check(encoded.avg[row, stream], h)
            check(encoded.clips[row, stream], clips)


def test_audio_encoder_matches_the_reference(make_config, audio_batch):
    module = AlanAudioEncoder(make_config(query_modality="audio")).eval()
    encoded = module(audio_batch["audio_features"], audio_batch["audio_mask"])
    w = Weights(module)
    for row, length in enumerate((14, 3, 1)):
        raw = audio_batch["audio_features"][row, :length].double().numpy()
        scores = detector(w.below("detector"), raw)
        parts = [uniform_clips(length, 5), systematic_clips(scores, 4)]
        tokens = sequence(w.below("sequence"), linear(w.below("projection"), raw), parts)
        g, h, _ = pool(encoder_layer(w.below("self_encoder"), tokens), (5, 4))
        for name, pooled in (("cls", g), ("avg", h)):
            vectors, weights = query_head(w.below(f"heads.{name}"), pooled)
            check(getattr(encoded, name)[row], vectors)
            check(getattr(encoded, f"{name}_weights")[row], weights)


def test_text_encoder_matches_the_reference(make_config, text_batch):
    """BERT is transformers' own; its word outputs are where the paper's text tower begins."""
    module = AlanTextEncoder(make_config()).eval()
    encoded = module(text_batch["input_ids"], text_batch["attention_mask"])
    w = Weights(module)
    for row, length in enumerate((9, 7, 5)):
        words = encoded.words[row].detach().double().numpy()
        for name, pooled in (("cls", words[0]), ("avg", words[1 : length - 1].mean(0))):
            vectors, weights = query_head(w.below(f"heads.{name}"), pooled)
            check(getattr(encoded, name)[row], vectors)
            check(getattr(encoded, f"{name}_weights")[row], weights)
