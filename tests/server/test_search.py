from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import KEY, data_uri
from var_plugin.api import Index


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        yield client


def search(client: httpx.Client, **query: object) -> list[dict[str, object]]:
    response = client.post("/v1/search", json=query)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def test_text_finds_its_moment(client: httpx.Client) -> None:
    best = search(client, text="green", k=1)[0]
    assert (best["camera"], best["name"], best["start"], best["end"]) == ("north", "north.mp4", 8, 16)


def test_anomalies_are_listed_without_a_query(client: httpx.Client, footage: Index) -> None:
    moments = client.post("/v1/anomalies", json={"k": 2}).json()["data"]
    assert [moment["id"] for moment in moments] == [moment.id for moment in footage.anomalies(2)]
    south = client.post("/v1/anomalies", json={"filter": {"cameras": ["south"]}, "group_by": "video"}).json()["data"]
    assert [moment["camera"] for moment in south] == ["south"]
    assert client.post("/v1/anomalies", json={"kinds": ["no such kind"]}).status_code == 400
    for option in ({"min_score": 0.5}, {"weights": {"scene": 2}}):
        response = client.post("/v1/search", json={"filter": {"cameras": ["south"]}, **option})
        assert response.status_code == 400, "it would have no effect"
        assert "without a query" in response.json()["error"]["message"]


def test_image_and_video_find_their_moments(client: httpx.Client, green_png: bytes, blue_film: Path) -> None:
    by_image = search(client, image=data_uri("image/png", green_png), k=1)
    by_video = search(client, video=data_uri("video/mp4", blue_film.read_bytes()), k=1)
    assert by_image[0]["start"] == 8
    assert by_video[0]["start"] == 16


def test_filter_is_applied(client: httpx.Client) -> None:
    assert {moment["camera"] for moment in search(client, text="red", filter={"cameras": ["south"]})} == {"south"}
    assert search(client, text="red", filter={"cameras": ['south" or camera != "']}) == []
    assert client.post("/v1/search", json={"text": "red", "filter": {"camera": "south"}}).status_code == 400


def test_min_score_group_by_and_weights_are_applied(client: httpx.Client) -> None:
    everything = search(client, text="red", k=20)
    threshold = everything[1]["score"]
    assert len(search(client, text="red", k=20, min_score=threshold)) == 2 < len(everything)
    videos = [moment["video_id"] for moment in search(client, text="red", k=20, group_by="video")]
    assert len(videos) == len(set(videos)) == 2
    (doubled,) = search(client, text="red", k=1, weights={"scene": 2})
    assert doubled["score"] == pytest.approx(2 * everything[0]["score"], rel=1e-5)
    for weights in ({"smell": 1}, {"scene": -1}, {"scene": 0}, {"scene": 1e308}):
        assert client.post("/v1/search", json={"text": "red", "weights": weights}).status_code == 400


def test_video_and_thumbnail_of_a_moment_are_served(client: httpx.Client) -> None:
    best = search(client, text="blue", k=1)[0]
    assert client.get(str(best["uri"])).json()["name"] == "north.mp4"
    image = client.get(str(best["thumbnail"]))
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content.startswith(b"\xff\xd8")


def test_responses_do_not_contain_paths(client: httpx.Client, footage: Index) -> None:
    folder = "a secret place"
    assert folder in footage.videos()[0].uri
    for response in (client.post("/v1/search", json={"text": "red"}), client.get("/v1/videos")):
        assert response.status_code == 200
        assert folder not in response.text


def test_videos_are_listed_in_pages(client: httpx.Client) -> None:
    first = client.get("/v1/videos", params={"limit": 1}).json()
    second = client.get("/v1/videos", params={"limit": 1, "after": first["data"][0]["id"]}).json()
    assert [video["camera"] for video in first["data"] + second["data"]] == ["north", "south"]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert client.get("/v1/videos", params={"after": "0"}).status_code == 404


@pytest.mark.parametrize("video_id", ["..%2f..%2fetc%2fpasswd", "....//", "%2e%2e", "x' or 1==1", "0" * 32])
@pytest.mark.parametrize("rest", ["", "/thumbnail"])
def test_other_paths_than_video_ids_are_refused(client: httpx.Client, video_id: str, rest: str) -> None:
    response = client.get(f"/v1/videos/{video_id}{rest}")
    assert response.status_code in (400, 404)
    assert response.json()["error"]["type"] in ("invalid_request_error", "not_found_error")


def test_thumbnail_after_the_end_of_the_video_is_refused(client: httpx.Client) -> None:
    video = client.get("/v1/videos").json()["data"][0]["id"]
    assert client.get(f"/v1/videos/{video}/thumbnail", params={"at": 1000}).status_code == 400


def test_query_without_input_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/search", json={})
    assert response.status_code == 400
    assert "nothing to search for" in response.json()["error"]["message"]
