"""The files in `deploy/` are consistent. They are read, not run, because no container engine is available."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from var_plugin.cli import app
from var_plugin.config import Settings
from var_plugin.index.milvus.options import is_local, milvus_uri
from var_plugin.server.health import health_router

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
DOCKERFILE = DEPLOY / "Dockerfile"
# Top-level keys of the chart zilliztech/milvus that are used here.
CHART_KEYS = {
    "image", "cluster", "standalone", "streaming", "indexNode", "proxy", "queryNode", "dataNode", "mixCoordinator",
    "service", "etcd", "minio", "externalS3", "pulsarv3",
}  # fmt: skip
VALUES = sorted((DEPLOY / "helm").glob("values-*.yaml"))


@pytest.fixture
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return parsed


def test_images_are_pinned_and_ports_are_local(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if "image" in service:
            assert re.fullmatch(r"[\w./-]+:v\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", service["image"]), name
        else:
            assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_services_use_the_default_seccomp_profile(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged")


def test_server_is_unprivileged_with_a_read_only_file_system(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    (writable,) = server["tmpfs"]
    assert (server["read_only"], server["cap_drop"]) == (True, ["ALL"])
    instructions = [line.split() for line in DOCKERFILE.read_text().splitlines() if re.match("[A-Z]+ ", line)]
    (user,) = (words[1] for words in instructions if words[0] == "USER")
    assert int(user) > 0
    cache = re.search(r"VAR_PLUGIN_CACHE=(\S+)", DOCKERFILE.read_text())
    assert cache and Path(writable) in Path(cache[1]).parents


def test_image_uses_one_pinned_base_and_the_locked_packages() -> None:
    text = DOCKERFILE.read_text()
    (base,) = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    assert re.findall("pip install", text) == []
    assert "requirements/install.py server" in text
    copied = re.findall(r"^COPY (?!--from)(.+) \./?\S*$", text, re.MULTILINE)
    assert all((COMPOSE.parent.parent / name).exists() for names in copied for name in names.split())


def test_health_check_uses_a_route_of_the_server(compose: dict[str, Any]) -> None:
    (path,) = re.findall(r"http://127\.0\.0\.1:8000(/[\w/]+)", DOCKERFILE.read_text())
    assert path in {route.path for route in health_router(None, None).routes}  # type: ignore[arg-type]
    assert "healthcheck" in compose["services"]["milvus"]


def test_referenced_services_and_volumes_exist(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for needed in service.get("depends_on", ()):
            assert "healthcheck" in services[needed]
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]
    hosts = re.findall(r"http://(\w+):\d{4,5}\b", COMPOSE.read_text())
    assert "milvus" in hosts
    assert set(hosts) <= {*services, "localhost"}, "every host is a service"


def test_server_accepts_its_command_and_settings(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    assert CliRunner().invoke(app, [*server["command"], "--help"]).exit_code == 0
    variables = {f"VAR_PLUGIN_{name.upper()}" for name in Settings.model_fields}
    assert server["environment"].keys() <= variables
    assert not is_local(milvus_uri(server["environment"]["VAR_PLUGIN_INDEX"]))


def test_other_containers_may_use_the_service_name_as_host(compose: dict[str, Any]) -> None:
    command = compose["services"]["server"]["command"]
    allowed = [value for option, value in pairwise(command) if option == "--allow-host"]
    assert allowed == ["server"]


def test_secrets_come_from_the_environment(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("KEY|PASSWORD|USER|TOKEN", name):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value), name


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_helm_values_fit_the_chart_and_the_milvus_version(path: Path, compose: dict[str, Any]) -> None:
    values = yaml.safe_load(path.read_text())
    assert values.keys() <= CHART_KEYS
    assert values["cluster"]["enabled"] == ("cluster" in path.stem)
    assert compose["services"]["milvus"]["image"].endswith(":" + values["image"]["all"]["tag"])
    assert values["service"]["type"] == "ClusterIP", "reachable from outside the cluster"
    assert not values["minio"]["enabled"], "MinIO's images are no longer published"
    assert not {"accessKey", "secretKey"} & values["externalS3"].keys(), "secrets belong on the command line"
    for uri in re.findall(r"--index '([^']+)'", path.read_text()):
        assert milvus_uri(uri) == uri


def test_docker_compose_accepts_the_file() -> None:
    text = COMPOSE.read_text()
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        compose = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        compose = ["docker-compose"]
        text = re.sub("^name:.*$", "", text, flags=re.MULTILINE)  # Debian's version 1.29 does not support it
    else:
        pytest.skip("docker compose is not installed: apt-get install docker-compose")
    secrets = {"VAR_PLUGIN_API_KEYS": "x"}
    command = [*compose, "--project-directory", str(DEPLOY), "-f", "-", "config", "--quiet"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, env={**os.environ, **secrets})
    assert result.returncode == 0, result.stderr
