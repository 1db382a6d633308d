"""The files in `deploy/` hold together: read, not run, since no container engine is at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from var_plugin.cli import app
from var_plugin.index.location import is_local, milvus_uri
from var_plugin.settings import Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
# What the chart zilliztech/milvus reads at the top, of all that is set here.
CHART = {
    "image", "cluster", "standalone", "streaming", "indexNode", "proxy", "queryNode", "dataNode", "mixCoordinator",
    "etcd", "minio", "pulsarv3",
}  # fmt: skip
VALUES = sorted((DEPLOY / "helm").glob("values-*.yaml"))


@pytest.fixture
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return parsed


def test_images_are_pinned_and_ports_are_this_machines(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if "image" in service:
            assert re.fullmatch(r"[\w./-]+:(v\d+\.\d+\.\d+|RELEASE\.[\dTZ-]+)", service["image"]), name
        else:
            assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_services_and_volumes_that_are_named_are_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for needed in service.get("depends_on", ()):
            assert "healthcheck" in services[needed]
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]
    hosts = re.findall(r"(?:http://|: )(\w+):\d{4,5}\b", COMPOSE.read_text())
    assert {"etcd", "minio", "milvus"} <= set(hosts)
    assert set(hosts) <= {*services, "localhost"}, "what answers there is a service"


def test_the_server_understands_its_command_and_settings(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    assert CliRunner().invoke(app, [*server["command"], "--help"]).exit_code == 0
    known = {f"VAR_PLUGIN_{name.upper()}" for name in Settings.model_fields}
    assert server["environment"].keys() <= known
    assert not is_local(milvus_uri(server["environment"]["VAR_PLUGIN_INDEX"]))


def test_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("KEY|PASSWORD|USER|TOKEN", name):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value), name


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_values_are_of_the_chart_and_of_the_same_milvus(path: Path, compose: dict[str, Any]) -> None:
    values = yaml.safe_load(path.read_text())
    assert values.keys() <= CHART
    assert values["cluster"]["enabled"] == ("cluster" in path.stem)
    assert compose["services"]["milvus"]["image"].endswith(":" + values["image"]["all"]["tag"])
    for uri in re.findall(r"--index '([^']+)'", path.read_text()):
        assert milvus_uri(uri) == uri


def test_docker_compose_accepts_the_file() -> None:
    text = COMPOSE.read_text()
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        compose = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        compose = ["docker-compose"]
        text = re.sub("^name:.*$", "", text, flags=re.MULTILINE)  # 1.29, which Debian has, does not know it
    else:
        pytest.skip("no docker compose here: apt-get install docker-compose")
    secrets = dict.fromkeys(("MINIO_USER", "MINIO_PASSWORD", "VAR_PLUGIN_API_KEYS"), "x")
    command = [*compose, "--project-directory", str(DEPLOY), "-f", "-", "config", "--quiet"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, env={**os.environ, **secrets})
    assert checked.returncode == 0, checked.stderr
