"""The inner product of folded vectors is the score. With the norm coordinate, cosine ranks like the score."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.tolerances import FLOAT32
from var_plugin.encoders.alan.alignment import align
from var_plugin.encoders.alan.encodings import QueryEncoding, VideoEncoding
from var_plugin.encoders.alan.folding import fold_queries, fold_videos

VIDEOS, QUERIES, WIDTH = 300, 200, 8


@pytest.fixture(params=[1, 2])
def pair(request) -> tuple[VideoEncoding, QueryEncoding]:
    """Random encodings with peaked stream weights, so that the norms of queries differ."""
    streams = request.param
    vectors = [torch.randn(n, streams, WIDTH).double() * 3 for n in (VIDEOS, VIDEOS, QUERIES, QUERIES)]
    weights = [torch.softmax(4 * torch.randn(QUERIES, streams).double(), dim=-1) for _ in range(2)]
    return VideoEncoding(*vectors[:2], *[torch.empty(0)] * 3), QueryEncoding(*vectors[2:], *weights)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_inner_product_is_the_score(pair, alpha):
    videos, queries = pair
    scores = align(videos, queries, alpha)
    folded_videos, folded_queries = fold_videos(videos), fold_queries(queries, alpha)
    assert folded_videos.dtype == folded_queries.dtype == torch.float32
    assert folded_videos.shape[1] == folded_queries.shape[1] == 2 * videos.cls.shape[1] * WIDTH + 1
    torch.testing.assert_close((folded_videos @ folded_queries.T).double(), scores, atol=FLOAT32, rtol=0)
    torch.testing.assert_close((folded_queries @ folded_videos.T).double(), scores.T, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_cosine_is_the_score_up_to_one_factor(pair, alpha):
    """The factor is the same for every pair, so cosine ranks like the score."""
    videos, queries = pair
    cosine = (
        F.normalize(fold_videos(videos).double(), dim=1) @ F.normalize(fold_queries(queries, alpha).double(), dim=1).T
    )
    factor = (2 * videos.cls.shape[1] * (alpha**2 + (1 - alpha) ** 2)) ** 0.5
    torch.testing.assert_close(cosine * factor, align(videos, queries, alpha), atol=FLOAT32, rtol=0)


def test_cosine_ranks_like_the_score(pair):
    videos, queries = pair
    scores = align(videos, queries, 0.3)
    cosine = F.normalize(fold_videos(videos), dim=1) @ F.normalize(fold_queries(queries, 0.3), dim=1).T
    for dim in (0, 1):
        order = scores.argsort(dim=dim, descending=True)
        sorted_scores = scores.gather(dim, order)
        assert (sorted_scores.diff(dim=dim) <= 0).all()
        # Only scores within float32 resolution may swap.
        assert (cosine.gather(dim, order).diff(dim=dim) <= 1e-6).all()


def test_cosine_without_the_norm_coordinate_ranks_queries_wrongly():
    """With two streams, query norms differ, and the best query by cosine often differs from the best by score."""
    vectors = [torch.randn(n, 2, WIDTH) for n in (VIDEOS, VIDEOS, QUERIES, QUERIES)]
    weights = [torch.softmax(4 * torch.randn(QUERIES, 2), dim=-1) for _ in range(2)]
    videos, queries = VideoEncoding(*vectors[:2], *[torch.empty(0)] * 3), QueryEncoding(*vectors[2:], *weights)
    cut = fold_queries(queries, 0.5)[:, :-1]
    cosine = F.normalize(fold_videos(videos)[:, :-1], dim=1) @ F.normalize(cut, dim=1).T
    wrong = cosine.argmax(dim=1) != align(videos, queries, 0.5).argmax(dim=1)
    assert wrong.float().mean() > 0.1


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_norms_are_equal_on_each_side(pair, alpha):
    videos, queries = pair
    streams = videos.cls.shape[1]
    video_norms, query_norms = fold_videos(videos).norm(dim=1), fold_queries(queries, alpha).norm(dim=1)
    torch.testing.assert_close(video_norms, torch.full_like(video_norms, (2 * streams) ** 0.5))
    torch.testing.assert_close(query_norms, torch.full_like(query_norms, (alpha**2 + (1 - alpha) ** 2) ** 0.5))
