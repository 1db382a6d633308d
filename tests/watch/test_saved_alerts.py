from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.colors import color_suite
from tests.films import Film, plain
from var_plugin.errors import InvalidInputError
from var_plugin.retrievers.search import embed_query, make_query
from var_plugin.types import Filter
from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts


def saved_alerts(folder: Path, **options: Any) -> SavedAlerts:
    saved = SavedAlerts(folder / "alerts.json")
    saved.save(SavedAlert(**{"name": "unusual", "threshold": 0.5, "command": ("true",)} | options))
    return saved


def test_saved_alerts_are_stored(tmp_path: Path) -> None:
    file = tmp_path / "new" / "alerts.json"
    saved = SavedAlerts(file)
    first = SavedAlert(name="a", text="red", threshold=0.5, command=("true",), filter=Filter(cameras=("north",)))
    saved.save(first)
    saved.save(SavedAlert(name="b", text="blue", threshold=0.5, command=("true",)))
    saved.save(first.model_copy(update={"threshold": 0.7}))
    assert [(alert.name, alert.threshold) for alert in SavedAlerts(file).alerts] == [("b", 0.5), ("a", 0.7)]
    assert SavedAlerts(file).alerts == saved.alerts
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "an address may hold a secret"
    saved.remove("b")
    assert [alert.name for alert in SavedAlerts(file).alerts] == ["a"]
    with pytest.raises(InvalidInputError, match="called b"):
        saved.remove("b")


def test_a_fifo_in_place_of_the_saved_alerts_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alerts.json")
    with pytest.raises(InvalidInputError, match="it is not a regular file"):
        _ = SavedAlerts(tmp_path / "alerts.json").alerts


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"x" * (5 << 20), b"{}"])
def test_a_damaged_file_of_alerts_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "alerts.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"alerts\.json does not hold saved alerts"):
        SavedAlerts(file).alerts  # noqa: B018


def test_a_file_of_alerts_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInputError, match="cannot read"):
        SavedAlerts(tmp_path / "folder").alerts  # noqa: B018
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="cannot"):
        SavedAlerts(tmp_path / "file/alerts.json").save(SavedAlert(name="a", text="x", threshold=1, command=("true",)))


@pytest.mark.parametrize("exists", [True, False])
def test_saving_writes_through_a_link(tmp_path: Path, exists: bool) -> None:
    link, file = tmp_path / "alerts.json", tmp_path / "elsewhere" / "shared.json"
    if exists:
        file.parent.mkdir()
        file.write_text("[]")
    link.symlink_to(file)
    SavedAlerts(link).save(SavedAlert(name="a", text="x", threshold=1, command=("true",)))
    assert link.is_symlink()
    assert [alert.name for alert in SavedAlerts(file).alerts] == ["a"]
    assert {path.name for path in file.parent.iterdir()} == {"shared.json", ".shared.json.lock"}
    SavedAlerts(link).remove("a")
    assert (link.is_symlink(), SavedAlerts(file).alerts) == (True, ())


def test_a_link_that_leads_to_itself_is_an_error(tmp_path: Path) -> None:
    link = tmp_path / "alerts.json"
    link.symlink_to(link)
    with pytest.raises(InvalidInputError, match="symbolic link"):
        SavedAlerts(link).save(SavedAlert(name="a", text="x", threshold=1, command=("true",)))


def test_an_alert_without_receiver_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json"
    with pytest.raises(InvalidInputError, match="has no receiver"):
        SavedAlerts(file).save(SavedAlert(name="a", text="red", threshold=0.5))
    with pytest.raises(InvalidInputError, match="has 32769 characters: the limit is 32768"):
        SavedAlerts(file).save(SavedAlert(name="a", text="r" * 32_769, threshold=0.5, command=("true",)))
    with pytest.raises(InvalidInputError, match="not an http or https address"):
        SavedAlerts(file).save(SavedAlert(name="a", text="red", threshold=0.5, webhook="file:///etc/passwd"))
    assert not file.exists()
    file.write_text('[{"name": "a"}]')
    with pytest.raises(InvalidInputError, match=r"0\.threshold"):
        SavedAlerts(file).alerts  # noqa: B018


def test_alerts_that_are_saved_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "new" / "alerts.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: saved_alerts(file.parent, name=f"alert {number}"), range(40)))
    assert {alert.name for alert in SavedAlerts(file).alerts} == {f"alert {number}" for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: SavedAlerts(file).remove(f"alert {number}"), range(39)))
    assert [alert.name for alert in SavedAlerts(file).alerts] == ["alert 39"]


def test_the_name_of_an_example_need_not_be_unicode(film: Film, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\x1b[2J.png")
    Image.fromarray(plain(200, 20, 20)).save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / name)
    example = embed_query(color_suite(), make_query(image=tmp_path / name))
    saved = saved_alerts(tmp_path, example=example)
    assert saved.named("unusual").condition.startswith(r"like image 'caf\xe9\x1b[2J.png'")
