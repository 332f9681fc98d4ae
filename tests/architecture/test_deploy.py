"""What is deployed is pinned, bounded, watched, and closed to the network; the image holds every package."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ROLES = ("api", "scorer", "ring-keeper", "ledger-writer", "graph-writer")
STORES = ("redis", "postgres", "kafka", "neo4j")
DONE_ONCE = ("secrets", "keys", "topics")
DOCKERFILE = (ROOT / "Dockerfile").read_text()

each_service = pytest.mark.parametrize("name", SERVICES)


def test_every_role_and_store_is_there() -> None:
    from ringwatch.shared_wiring import ROLES as known

    assert set(ROLES) == set(known)
    assert set(SERVICES) == {*ROLES, *STORES, *DONE_ONCE, "prometheus", "grafana"}
    assert [SERVICES[role]["command"][:3] for role in ROLES] == [["serve", "--role", role] for role in ROLES]


@each_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == "ringwatch:local" or re.search(r":v?\d+(\.\d+)+", image), image


def test_the_base_image_is_pinned_and_the_process_is_not_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert {b for b in bases if not re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", b)} == {"packages"}
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["ringwatch"]


@each_service
def test_memory_is_bounded_and_ports_are_of_this_machine(name: str) -> None:
    assert "mem_limit" in SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@each_service
def test_health_is_checked(name: str) -> None:
    if name not in (*DONE_ONCE, *ROLES):
        assert "test" in SERVICES[name]["healthcheck"]
    assert "HEALTHCHECK" in DOCKERFILE


@each_service
def test_no_password_is_written_down(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|AUTH|SECRET", variable):
            assert value.startswith("/secrets/"), variable


def test_the_same_servers_run_with_and_without_containers() -> None:
    pom = (ROOT / "deploy" / "servers" / "pom.xml").read_text()
    for name, version in re.findall(r"<(neo4j|kafka)\.version>([\d.]+)<", pom):
        assert f":{version}" in SERVICES[name]["image"]


def test_the_image_holds_every_package() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {name for name in packages["packages"] if f"!{name}" not in ignored} == set()


def test_the_dashboard_shows_metrics_there_are() -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "ringwatch.json").read_text())
    asked = {
        re.sub(r"_(total|bucket|count|sum)$", "", metric)
        for panel in board["panels"]
        for target in panel.get("targets", ())
        for metric in re.findall(r"ringwatch_\w+", target["expr"])
    }
    code = (ROOT / "api" / "metrics.py").read_text() + (ROOT / "roles" / "metrics.py").read_text()
    assert asked
    assert {metric for metric in asked if f'"{metric}"' not in code} == set()
