"""Reranking with a tiny random vision-language model, compared with the forward pass of the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.modules import LogitScore, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tests.encoders.backbones.test_sentence_transformers import native_video
from tests.encoders.backbones.tiny import save_clip, save_qwen3_vl
from tests.films import Film, textured
from tests.ingest.test_add import scene
from var_plugin.api import Index
from var_plugin.errors import InvalidInputError, MissingWeightsError
from var_plugin.media.files import content_hash
from var_plugin.retrievers.rerank import FRAMES, QUESTION, VIDEO_FRAMES, load_reranker
from var_plugin.types import Moment, Query

WORDS = ["<pad>", "<unk>", "<image>", "USER", "ANSWER", "yes", "no", "a", "red", "car", "video", "show", "or"]
TEMPLATE = (
    "{% for message in messages %}USER {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ANSWER{% endif %}"
)


QWEN_PAIR = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=["<image>"]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **small, "image_size": 16, "patch_size": 8},
        text_config={"model_type": "llama", **small, "vocab_size": len(WORDS), "num_key_value_heads": 2},
        image_token_index=WORDS.index("<image>"),
    )
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("vlm")
    model = LlavaForConditionalGeneration(config)
    for weights in model.parameters():  # the usual small ones would make all answers alike
        torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(place)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def cross_encoder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a cross-encoder in the layout of Qwen3-VL-Reranker: a generative model, and the log-odds of two tokens."""
    network = Transformer(str(folder), transformer_task="any-to-any")
    saved = tmp_path_factory.mktemp("cross-encoder")
    CrossEncoder(modules=[network, LogitScore(WORDS.index("yes"), WORDS.index("no"))]).save_pretrained(str(saved))
    return saved


def by_hand(folder: Path, text: str, images: list[np.ndarray]) -> float:
    """Compute the score with the library: prepare text and images, one forward pass, logits of two tokens."""
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = LlavaProcessor.from_pretrained(folder)
    prompt = "USER " + "<image> " * len(images) + QUESTION.format(text) + " ANSWER"
    inputs = processor(text=prompt, images=[Image.fromarray(image) for image in images], return_tensors="pt")
    with torch.no_grad():
        last = model(**inputs).logits[0, -1]
    return float(last[WORDS.index("yes")] - last[WORDS.index("no")])


def test_the_score_is_the_odds_of_the_next_token(folder: Path) -> None:
    reranker = load_reranker(str(folder))
    for seeds in ([1], [1, 2, 3, 4]):
        images = [textured(seed) for seed in seeds]
        assert reranker.score("a red car", images, fps=1.0) == pytest.approx(
            by_hand(folder, "a red car", images), abs=1e-4
        )


def test_the_score_of_a_cross_encoder_is_that_of_the_library(folder: Path, cross_encoder: Path) -> None:
    images = [textured(seed) for seed in range(4)]
    score = load_reranker(str(cross_encoder)).score("a red car", images, fps=1.0)
    pair = ("a red car", {"image": [Image.fromarray(image) for image in images]})
    probability = CrossEncoder(str(cross_encoder)).predict([pair])[0]
    assert 1 / (1 + np.exp(-score)) == pytest.approx(probability, abs=1e-4)
    # The pair is one chat: the text of the query, then the images.
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    prompt = "USER a red carUSER " + "<image> " * 4
    inputs = LlavaProcessor.from_pretrained(folder)(text=prompt, images=pair[1]["image"], return_tensors="pt")
    with torch.no_grad():
        last = model(**inputs).logits[0, -1]
    assert score == pytest.approx(float(last[WORDS.index("yes")] - last[WORDS.index("no")]), abs=1e-4)


def test_a_cross_encoder_for_text_is_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), num_labels=1, **small)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    with pytest.raises(InvalidInputError, match=r"cannot rerank moments.* takes text; number"):
        load_reranker(str(tmp_path)).score("a red car", [textured(1)], fps=1.0)


@native_video
def test_a_cross_encoder_for_video_gets_the_frames_as_one_video(tmp_path: Path) -> None:
    network = Transformer(str(save_qwen3_vl(tmp_path / "qwen")), transformer_task="any-to-any")
    network.processor.chat_template = QWEN_PAIR
    ids = network.tokenizer.convert_tokens_to_ids(["red", "blue"])
    CrossEncoder(modules=[network, LogitScore(*ids)]).save_pretrained(str(tmp_path / "reranker"))
    reranker = load_reranker(str(tmp_path / "reranker"))
    assert reranker.frames == VIDEO_FRAMES
    images = [textured(seed, 224, 448) for seed in range(VIDEO_FRAMES)]
    score = reranker.score("a red car", images, fps=2.0)
    # The library takes the time of each frame from metadata of the batch.
    metadata = {"fps": 2.0, "total_num_frames": VIDEO_FRAMES, "frames_indices": list(range(VIDEO_FRAMES))}
    expected = CrossEncoder(str(tmp_path / "reranker")).predict(
        [("a red car", {"video": np.stack(images)})],
        activation_fn=torch.nn.Identity(),
        processing_kwargs={"video": {"video_metadata": [metadata], "do_sample_frames": False}},
    )
    assert score == pytest.approx(float(expected[0]), abs=1e-4)
    assert score != pytest.approx(reranker.score("a red car", images, fps=0.5), abs=1e-4)
    assert score != pytest.approx(reranker.score("a red car", images[::-1], fps=2.0), abs=1e-4)


def test_results_are_in_the_order_of_the_model(folder: Path, index: Index, film: Film) -> None:
    for number, colors in enumerate((("red", "blue"), ("blue", "green"), ("green", "red"), ("yellow", "blue"))):
        index.add(film(f"{number}.mp4", seconds=16, fps=4, paint=scene(*colors)))
    reranker = load_reranker(str(folder))
    plain = index.search("red", k=4, group_by="video")
    moments = index.search("red", k=4, group_by="video", rerank=reranker)
    assert {moment.video_id for moment in moments} == {moment.video_id for moment in plain}
    odds = [reranker._moment_score("red", moment) for moment in moments]
    assert odds == sorted(odds, reverse=True)
    assert max(odds) - min(odds) > 0.01
    assert FRAMES == 4


def moment(path: Path, score: float = 1.0) -> Moment:
    video_id = content_hash(path)[:32] if path.exists() else "gone"
    return Moment(
        id=path.name, video_id=video_id, uri=str(path), camera="c", start=0, end=2, peak=1, score=score,
        anomaly_score=0, matched={},
    )  # fmt: skip


def test_missing_footage_is_last_and_image_queries_are_not_reranked(
    folder: Path, film: Film, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = load_reranker(str(folder))
    there, missing = moment(film()), moment(tmp_path / "gone.mp4", 2.0)
    overwritten = moment(film("b.mp4", paint=lambda time: textured(2)), 3.0)
    film("b.mp4", paint=lambda time: textured(3))
    assert reranker(Query(text="red"), [overwritten, missing, there]) == [there, overwritten, missing]
    assert caplog.text.count("was not reranked") == 2
    assert reranker(Query(image="a.png"), [missing, there]) == [missing, there]


def test_a_model_without_chat_template_is_refused(tmp_path: Path, film: Film) -> None:
    candidate = moment(film())
    with pytest.raises(InvalidInputError, match=r"no AutoModelForImageTextToText|cannot answer questions"):
        load_reranker(str(save_clip(tmp_path / "clip")))(Query(text="red"), [candidate])
    with pytest.raises(MissingWeightsError, match="was not found locally"):
        load_reranker("nobody/nothing")
