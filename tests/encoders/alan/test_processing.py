"""The processor builds batches, maps phrases to word pieces and rejects bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertTokenizer

from var_plugin.encoders.alan import AlanModel, AlanProcessor, Phrases
from var_plugin.errors import InvalidInputError, UnsupportedModalityError

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "shirt", "##less", "deliberate", "##ly", "knocked",
    "down", "shelves", "dog", "barks", ".",
]  # fmt: skip
CAPTION = "A shirtless man deliberately knocked down shelves."
NOUNS, VERBS = ((0, 15), (42, 49)), ((16, 41),)


@pytest.fixture
def processor(make_config, tmp_path) -> AlanProcessor:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    return AlanProcessor(make_config(), BertTokenizer(vocab=str(vocabulary)))


def pieces(processor, batch, row, span):
    start, end = span.tolist()
    return processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][row, start:end])


def test_phrases_map_to_all_their_word_pieces(processor):
    batch = processor(text=["A dog barks.", CAPTION], phrases=[Phrases(((0, 5),), ((6, 11),)), Phrases(NOUNS, VERBS)])
    assert pieces(processor, batch, 0, batch["noun_phrases"][0, 0]) == ["a", "dog"]
    assert pieces(processor, batch, 0, batch["verb_phrases"][0, 0]) == ["barks"]
    assert pieces(processor, batch, 1, batch["noun_phrases"][1, 0]) == ["a", "shirt", "##less", "man"]
    assert batch["noun_phrases"][0, 1].tolist() == [0, 0]


def test_spans_cover_the_word_pieces_of_their_words(processor):
    caption = "A dog deliberately knocked down shelves"
    batch = processor(text=[caption], phrases=[Phrases(((0, 5), (32, 39)), ((6, 31),))])
    assert pieces(processor, batch, 0, batch["noun_phrases"][0, 1]) == ["shelves"]
    assert pieces(processor, batch, 0, batch["verb_phrases"][0, 0]) == ["deliberate", "##ly", "knocked", "down"]


def test_long_caption_is_truncated_with_its_phrases(make_config, processor):
    short = AlanProcessor(make_config(max_text_length=6), processor.tokenizer)
    batch = short(text=[CAPTION], phrases=[Phrases(NOUNS, VERBS)])
    assert batch["input_ids"].shape == (1, 6)
    assert batch["noun_phrases"].shape == (1, 1, 2)
    assert batch["verb_phrases"].shape == (1, 0, 2)


def test_features_are_padded_on_the_right(processor):
    videos = [np.ones((3, 12)), torch.ones(5, 12)]
    batch = processor(object_features=videos, anomaly_labels=[1, 0])
    assert batch["object_features"].shape == (2, 5, 12)
    assert batch["object_features"].dtype == torch.float32
    assert batch["object_features"][0].sum(dim=1).tolist() == [12, 12, 12, 0, 0]
    assert batch["clip_mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert batch["anomaly_labels"].tolist() == [1.0, 0.0]


def test_video_is_cut_to_a_flow_sequence_one_clip_shorter(processor):
    batch = processor(object_features=[np.ones((4, 12))], motion_features=[np.ones((3, 10))])
    assert batch["object_features"].shape[1] == batch["motion_features"].shape[1] == batch["clip_mask"].shape[1] == 3


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"object_features": [np.ones((3, 11))]}, "object features"),
        ({"object_features": [np.ones((0, 12))]}, "object features"),
        ({"object_features": [np.ones((10, 3, 12))]}, "object features"),
        ({"object_features": [np.full((3, 12), np.nan)]}, "NaN"),
        ({"object_features": [np.ones((5, 12))], "motion_features": [np.ones((3, 10))]}, "3 motion clips"),
        ({"object_features": [np.ones((5, 12))], "motion_features": []}, "0 videos"),
        ({"text": ["a dog", "  "]}, "empty"),
    ],
)
def test_bad_input_is_rejected_by_name(processor, inputs, message):
    with pytest.raises(InvalidInputError, match=message):
        processor(**inputs)


def test_audio_model_rejects_text(make_config, processor):
    config = make_config(query_modality="audio")
    with pytest.raises(InvalidInputError, match="tokenizer is given"):
        AlanProcessor(config, processor.tokenizer)
    with pytest.raises(UnsupportedModalityError):
        AlanProcessor(config)(text=["a dog"])
    batch = AlanProcessor(config)(audio_features=[np.ones((2, 6)), np.ones((1, 6))])
    assert batch["audio_mask"].tolist() == [[True, True], [True, False]]


def test_model_and_processor_share_a_folder(tmp_path, processor):
    model = AlanModel(processor.config).eval()
    model.save_pretrained(tmp_path / "alan")
    processor.save_pretrained(tmp_path / "alan")
    loaded, loaded_processor = (
        AlanModel.from_pretrained(tmp_path / "alan"),
        AlanProcessor.from_pretrained(tmp_path / "alan"),
    )
    inputs = {"object_features": [np.ones((3, 12))], "motion_features": [np.ones((3, 10))], "text": [CAPTION]}
    with torch.no_grad():
        expected, again = model(**processor(**inputs)), loaded(**loaded_processor(**inputs))
    torch.testing.assert_close(expected.scores, again.scores)
    assert Path(tmp_path / "alan" / "model.safetensors").exists()
