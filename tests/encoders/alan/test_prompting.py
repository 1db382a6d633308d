"""Masked phrase modeling: masking, loss, gradients, and captions without phrases."""

from __future__ import annotations

import pytest
import torch

from var_plugin.encoders.alan.encodings import TextEncoding, VideoEncoding
from var_plugin.encoders.alan.prompting import MaskedPhraseModeling, sample_phrases

NO_PHRASE = torch.zeros(3, 1, 2, dtype=torch.int64)


@pytest.fixture
def text(text_batch) -> TextEncoding:
    attention = text_batch["attention_mask"]
    last = attention.sum(1, keepdim=True) - 1
    position = torch.arange(9)
    words = torch.randn(3, 9, 20, requires_grad=True)
    return TextEncoding(*[torch.empty(0)] * 4, words=words, word_mask=(position > 0) & (position < last))


@pytest.fixture
def video() -> VideoEncoding:
    clips = torch.randn(3, 2, 9, 16, requires_grad=True)
    return VideoEncoding(torch.empty(0), torch.empty(0), clips, torch.empty(0), torch.empty(0))


def test_phrases_are_sampled_uniformly():
    phrases = torch.tensor([[[1, 3], [4, 5], [6, 9]], [[2, 4], [0, 0], [0, 0]]]).repeat(3000, 1, 1)
    masks = sample_phrases(phrases, 10, torch.Generator().manual_seed(0))
    three, one = masks[::2], masks[1::2]
    for start, end in ((1, 3), (4, 5), (6, 9)):
        alone = torch.zeros(10, dtype=torch.bool)
        alone[start:end] = True
        assert abs((three == alone).all(dim=1).float().mean().item() - 1 / 3) < 0.03
    assert (three.sum(dim=1) <= 3).all()
    assert one.eq(torch.arange(10).ge(2) & torch.arange(10).lt(4)).all()


@pytest.mark.parametrize("phrases", [NO_PHRASE, torch.zeros(3, 0, 2, dtype=torch.int64)])
def test_caption_without_phrases_is_not_masked(phrases):
    assert not sample_phrases(phrases, 9).any()


def test_loss_and_gradient_match_the_equation(make_config, text, video, text_batch):
    """Per pass: mean of -log softmax at the M masked pieces; the gradient at the logits is (softmax - one-hot) / M."""
    modeling = MaskedPhraseModeling(make_config())
    nouns, verbs = text_batch["noun_phrases"][:, :1], text_batch["verb_phrases"]
    ids = text_batch["input_ids"]
    loss = modeling(text, video, ids, nouns, verbs)
    loss.backward()
    expected, bias_gradient = 0.0, torch.zeros(60)
    for phrases in (nouns, verbs):
        masked = torch.zeros(3, 9, dtype=torch.bool)
        for row, (start, end) in enumerate(phrases[:, 0].tolist()):
            masked[row, start:end] = True
        with torch.no_grad():
            logits = modeling.decoder(text.words, text.word_mask, masked, torch.cat([*video.clips.unbind(1)], dim=1))
        probabilities = logits.double().exp() / logits.double().exp().sum(dim=1, keepdim=True)
        targets = ids[masked]
        expected -= probabilities[torch.arange(len(targets)), targets].log().mean().item() / 2
        bias_gradient += ((probabilities - torch.eye(60)[targets]).mean(dim=0) / 2).float()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(modeling.decoder.vocabulary.bias.grad, bias_gradient)


def test_passes_are_averaged_or_summed(make_config, text, video, text_batch):
    mean, summed = (MaskedPhraseModeling(make_config(mpm_reduction=reduction)) for reduction in ("mean", "sum"))
    summed.load_state_dict(mean.state_dict())
    arguments = (text, video, text_batch["input_ids"], text_batch["noun_phrases"][:, :1], text_batch["verb_phrases"])
    assert summed(*arguments).item() == pytest.approx(2 * mean(*arguments).item(), rel=1e-5)


def test_loss_has_gradients_for_both_encoders(make_config, text, video, text_batch):
    modeling = MaskedPhraseModeling(make_config())
    modeling(text, video, text_batch["input_ids"], text_batch["noun_phrases"], NO_PHRASE).backward()
    assert video.clips.grad.abs().sum(dim=(1, 2, 3)).gt(0).all()
    assert text.words.grad.abs().sum(dim=(1, 2)).gt(0).all()
    assert modeling.decoder.mask_embedding.grad.abs().sum() > 0


def test_loss_without_phrases_is_zero_and_differentiable(make_config, text, video, text_batch):
    modeling = MaskedPhraseModeling(make_config())
    loss = modeling(text, video, text_batch["input_ids"], NO_PHRASE, NO_PHRASE)
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is not None for parameter in modeling.parameters())
    assert all(parameter.grad.eq(0).all() for parameter in modeling.parameters())


def test_caption_without_a_verb_adds_no_verb_loss(make_config, text, video, text_batch):
    modeling = MaskedPhraseModeling(make_config())
    modeling(text, video, text_batch["input_ids"], NO_PHRASE, text_batch["verb_phrases"]).backward()
    has_gradient = video.clips.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert has_gradient.tolist() == [True, True, False]


def test_masked_phrase_does_not_affect_the_prediction(make_config, text, video, text_batch):
    modeling = MaskedPhraseModeling(make_config())
    nouns = text_batch["noun_phrases"][:, :1]
    before = modeling(text, video, text_batch["input_ids"], nouns, NO_PHRASE)
    changed = text.words.detach().clone()
    for row, (start, end) in enumerate(nouns[:, 0].tolist()):
        changed[row, start:end] += 1
    text.words = changed
    torch.testing.assert_close(modeling(text, video, text_batch["input_ids"], nouns, NO_PHRASE), before)


def test_split_streams_prompt_nouns_with_objects_and_verbs_with_motion(make_config, text, video, text_batch):
    modeling = MaskedPhraseModeling(make_config(prompt_streams="split"))
    modeling(text, video, text_batch["input_ids"], text_batch["noun_phrases"], NO_PHRASE).backward()
    assert video.clips.grad[:, 0].abs().sum() > 0
    assert video.clips.grad[:, 1].abs().sum() == 0
    video.clips.grad = None
    modeling(text, video, text_batch["input_ids"], NO_PHRASE, text_batch["verb_phrases"]).backward()
    assert video.clips.grad[:, 0].abs().sum() == 0
    assert video.clips.grad[:, 1].abs().sum() > 0


def test_words_with_the_width_of_the_decoder_are_not_projected(make_config):
    config = make_config(hidden_size=20)
    assert not list(MaskedPhraseModeling(config).decoder.word_projection.parameters())
