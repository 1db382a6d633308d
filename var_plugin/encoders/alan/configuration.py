"""AlanConfig: the settings of the paper, and one named field for every decision that the paper leaves open."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, BertConfig, PretrainedConfig

from var_plugin.encoders.alan.options import (
    DetectorFusion,
    DetectorOptions,
    DetectorSource,
    MarginReduction,
    MaskedUnit,
    PassReduction,
    PositionEmbeddingKind,
    PositionSource,
    PromptStreams,
    QueryModality,
    SamplingOptions,
    StreamWeightsSource,
    VerbPattern,
    check_options,
    require,
)


class AlanConfig(PretrainedConfig, SamplingOptions, DetectorOptions):  # type: ignore[misc]
    """Settings of ALAN (Wu et al., IEEE TIP 33, 2024, arXiv 2307.12545).

    "Row n" refers to the table "Decisions" in docs/alan.md, which lists the points that the paper leaves open. These
    rows have no field of their own:

    * Row 6, fewer clips than N: both samplings repeat clips. There is no padding.
    * Row 7, videos of different length in a batch: padded and masked. Padding is never sampled and never in the top k.
    * Row 10, gradient of the top-k loss into the projections: only with `detector_source="projected"`.
    * Row 15, cross encoder: `LayerNorm(x + Linear(MultiHead(x, other, other)))`.
    * Row 19, special tokens in the prompting decoder: left out, as in the figure.
    * Row 20, amount of masking: one noun and one verb phrase per caption and step, with all their word pieces.
    * Row 22, vocabulary head: a separate linear layer. Row 24: phrases are masked on the outputs of BERT, as written.
    * Rows 25 and 31, epochs, clipping, warm-up and weight decay, are training settings. Rows 26 and 28, crops and
      unequal lengths, belong to the data sets. Row 27, no Flow features, is `motion_dim=None`.

    Args:
        query_modality: "text" or "audio". The paper trains one model for each.
        object_dim: dimension of an object clip feature (I3D-RGB: 1024).
        motion_dim: dimension of a motion clip feature (I3D-Flow: 1024). None: no motion stream (row 27). The object
            stream then has no cross encoder, and its stream weight is one.
        audio_dim: dimension of an audio clip feature (VGGish: 128). Used for audio queries only.
        text_config: configuration of the text backbone, as an object or a dictionary. Default: BERT-base-cased with
            dropout 0.3, as in section IV of the paper. None for audio queries.
        hidden_size: d, the width of all towers.
        num_attention_heads: heads of the self encoders, cross encoders and decoder (row 14).
        intermediate_size: width of their feed-forward layers (row 14).
        dropout: dropout of encoder and decoder layers, which are post-norm and one layer deep (row 14).
        num_fixed_clips: N of the fixed-frame sampling. 0 disables it (Tables IV and V).
        num_anomaly_clips: N of the anomaly-led sampling. 0 disables it (Tables IV and V).
        selection_temperature: τ of Eq. 1.
        selection_normalizer: Eq. 1 as "softmax", or "linear": scores divided by their sum (row 1).
        fixed_sampling_in_training: "random" samples one clip from each of N equal parts, "uniform" takes the middle of
            each part. Evaluation always uses "uniform" (row 2).
        anomaly_sampling_in_evaluation: "systematic" uses N evenly spaced pointers, so a vector is deterministic.
            "random" samples as in training, from the generator that is passed (row 3).
        sort_anomaly_clips: sort anomaly-led clips by time instead of sampling order (row 4).
        position_source: positions are "time" (clip index in the video) or "slot" (index in the sequence; row 4).
        position_embedding: "sinusoidal", or "learned" on `num_position_bins` bins of relative position (row 5).
        num_position_bins: bins of the learned position embedding.
        detector_channels: output channels of the first two convolutions.
        detector_kernel_size: kernel size of the three convolutions, in clips.
        detector_dropout: dropout after the first two convolutions.
        detector_padding: "same" or "causal" (row 9).
        detector_source: the detector reads "raw" or "projected" features (row 8).
        detector_fusion: the two streams are concatenated ("concat") or added ("sum") for the detector (row 8).
        topk_divisor: k = max(1, T // topk_divisor) (row 12).
        audio_topk_loss: apply the top-k loss to the audio detector as well (row 11).
        gated_batch_norm: batch normalisation in the gates of the gated embedding units, which are separate for CLS and
            AVG (row 16).
        stream_weights_source: compute stream weights from the outputs ("gated") or inputs ("ungated") of the gated
            embedding units. CLS and AVG have separate weights (row 17).
        alignment_alpha: α of Eq. 5, the weight of the CLS alignment.
        masked_unit: unit of masked phrase modeling: a "phrase", or, as in Table VI, a "content_word" or a
            "random_word".
        verb_pattern: verb phrases with ("extended") or without ("plain") trailing adpositions (row 21).
        prompt_streams: both passes use "both" streams, or, with "split", nouns the object stream and verbs the motion
            stream (row 18).
        mpm_reduction: "mean" or "sum" of the noun and the verb pass (row 23).
        margin: Δ of Eq. 6.
        margin_reduction: Eq. 6 as the "mean" over all pairs, or, as printed, as the sum divided by the "batch" size
            (row 13).
        ignore_equal_captions: do not treat videos with identical captions as negatives of each other (row 29).
        topk_loss_weight: λ1 of Eq. 10.
        mpm_loss_weight: λ2 of Eq. 10. 0 disables masked phrase modeling.
        max_text_length: maximum word pieces per caption, special tokens included (row 30).

    Raises:
        InvalidInputError: A value is out of range, or two values contradict each other.
    """

    model_type = "alan"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012

    query_modality: QueryModality = "text"
    object_dim: int = 1024
    motion_dim: int | None = 1024
    audio_dim: int = 128
    text_config: Any = None
    hidden_size: int = 768
    num_attention_heads: int = 8
    intermediate_size: int = 3072
    dropout: float = 0.1

    position_source: PositionSource = "time"
    position_embedding: PositionEmbeddingKind = "sinusoidal"
    num_position_bins: int = 128

    detector_source: DetectorSource = "raw"
    detector_fusion: DetectorFusion = "concat"
    topk_divisor: int = 16
    audio_topk_loss: bool = True

    gated_batch_norm: bool = False
    stream_weights_source: StreamWeightsSource = "gated"
    alignment_alpha: float = 0.5

    masked_unit: MaskedUnit = "phrase"
    verb_pattern: VerbPattern = "extended"
    prompt_streams: PromptStreams = "both"
    mpm_reduction: PassReduction = "mean"

    margin: float = 0.05
    margin_reduction: MarginReduction = "mean"
    ignore_equal_captions: bool = False
    topk_loss_weight: float = 0.1
    mpm_loss_weight: float = 0.01
    max_text_length: int = 64

    def __post_init__(self, **kwargs: Any) -> None:
        self._check()
        if self.query_modality == "audio":
            self.text_config = None
        elif self.text_config is None:
            self.text_config = BertConfig(vocab_size=28996, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
        elif isinstance(self.text_config, dict):
            options = dict(self.text_config)
            self.text_config = AutoConfig.for_model(options.pop("model_type", "bert"), **options)
        super().__post_init__(**kwargs)

    @property
    def num_streams(self) -> int:
        """Number of streams of the video tower: object and motion, or object alone."""
        return 1 if self.motion_dim is None else 2

    @property
    def embedding_dim(self) -> int:
        """Dimension of a folded vector: CLS and AVG of every stream, and one norm coordinate."""
        return 2 * self.num_streams * self.hidden_size + 1

    def _check(self) -> None:
        check_options(self)
        require(self.max_text_length > 2, "max_text_length", self, "more than the two special tokens")
        require(self.hidden_size % 2 == 0, "hidden_size", self, "even, because sinusoidal positions come in pairs")
        sums_raw_features = self.detector_source == "raw" and self.detector_fusion == "sum"
        require(not sums_raw_features or self.motion_dim in (None, self.object_dim), "detector_fusion", self,
                "concat for raw features of different dimensions")  # fmt: skip
