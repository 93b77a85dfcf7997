"""The routes under /fouriscale/v1."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fouriscale import __version__, plan_family
from fouriscale.hosts.webui.api import ROOT, credentials_of, schema_of_arguments
from fouriscale.hosts.webui.args import CUSTOM_FIELDS, DEFAULTS, FIELDS, parse
from fouriscale.hosts.webui.deciding import Page
from fouriscale.hosts.webui.describe import FAMILY_NAMES, headline
from fouriscale.settings.fields import PASSES, ROUNDINGS
from fouriscale.settings.presets import AUTO_SETTINGS, load
from webui_standin import Host, Processing


def client_of(host: Host) -> TestClient:
    """A client of the host's web server."""
    app = FastAPI()
    host.call("app_started", None, app)
    assert host.errors == []
    return TestClient(app)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch, "sdxl")


@pytest.fixture
def client(host: Host) -> TestClient:
    return client_of(host)


def test_presets(host: Host, client: TestClient, tmp_path: Path) -> None:
    answer = client.get(ROOT + "/presets")
    assert answer.status_code == 200
    assert [p["name"] for p in answer.json()] == [p.name for p in load()]
    assert answer.json()[11] == {
        "name": "SDXL 2048x2048", "family": "sdxl", "size": [2048, 2048], "settings": {"start": 0.4, "stop": 0.7},
    }  # fmt: skip
    host.options["fouriscale_user_folder"] = str(tmp_path)
    text = "family: sd15\npresets:\n- {name: Mine, size: [512, 768], base: [64, 128]}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    assert client.get(ROOT + "/presets").json()[-1] == {
        "name": "Mine", "family": "sd15", "size": [512, 768], "settings": {"base": [64, 128]},
    }  # fmt: skip


def test_schema(client: TestClient) -> None:
    schema = client.get(ROOT + "/schema").json()
    assert schema == json.loads(json.dumps(schema_of_arguments()))
    arguments = schema["arguments"]
    assert [a["name"] for a in arguments] == list(FIELDS)
    assert [a["position"] for a in arguments] == list(range(len(FIELDS)))
    assert [a["default"] for a in arguments] == [getattr(DEFAULTS, name) for name in FIELDS]
    assert [a["type"] for a in arguments] == [type(getattr(DEFAULTS, name)).__name__ for name in FIELDS]
    assert {a["name"]: (a["minimum"], a["maximum"]) for a in arguments if "minimum" in a} == {
        "start": (0, 1), "stop": (0, 1), "dilation": (0, 16), "stopband_strong": (-1, 1), "stopband_weak": (-1, 1),
        "amp_guidance": (1, 10), "coarse": (-1, 1),
    }  # fmt: skip
    assert {a["name"]: a["choices"] for a in arguments if "choices" in a} == {
        "passes": list(PASSES), "method": ["fouriscale", "scalecrafter", "attn-entropy"], "rounding": list(ROUNDINGS),
        "layers": ["published", "down+mid", "mid", "or comma-separated names, * allowed"],
    }  # fmt: skip
    assert tuple(a["name"] for a in arguments if "used" in a) == CUSTOM_FIELDS
    assert parse([a["default"] for a in arguments]).args == DEFAULTS
    example = schema["example"]["alwayson_scripts"][schema["title"]]["args"]
    assert parse(example).args.enabled is True


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_plan_of_a_family(client: TestClient, family: str) -> None:
    answer = client.get(ROOT + "/plan", params={"width": 2048, "height": 1536, "family": family})
    assert answer.status_code == 200
    planned = {**json.loads(json.dumps(plan_family(family, 2048, 1536, AUTO_SETTINGS).to_dict())), "preset": "Auto"}
    told = answer.json()
    assert told.pop("text").startswith(f"{FAMILY_NAMES[family]} 2048×1536: dilation ")
    assert told.pop("passes") == [{"pass": "first", **planned}]
    assert told == planned


def test_plan_of_the_current_model(client: TestClient) -> None:
    answer = client.get(ROOT + "/plan", params={"width": 256, "height": 256}).json()
    assert (answer["family"], answer["base"], answer["dilation"], answer["active"]) == ("sdxl", [64, 64], 4.0, True)
    answer = client.get(ROOT + "/plan", params={"width": 64, "height": 64}).json()
    assert answer["active"] is False
    assert "is not larger" in answer["reason"]


def test_plan_with_a_preset(client: TestClient) -> None:
    query = {"width": 4096, "height": 4096, "preset": "sd 1.5 1024×1024", "family": "sd15"}
    answer = client.get(ROOT + "/plan", params=query).json()
    assert (answer["preset"], answer["start"], answer["stop"]) == ("SD 1.5 1024x1024", 0.2, 0.6)
    answer = client.get(ROOT + "/plan", params={**query, "preset": "custom"}).json()
    assert answer["preset"] == "Custom"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"width": 1000, "height": 20000}, "height = 20000 is not allowed: a multiple of 8 from 64 to 16384 pixels"),
        ({"width": 0, "height": 512}, "width = 0 is not allowed: a multiple of 8"),
        ({"width": 512, "height": 1 << 40}, "height = 1099511627776 is not allowed: a number from 0"),
        ({"width": 512, "height": 512, "preset": "Turbo"}, "preset = 'Turbo' is not allowed: one of Auto, "),
        ({"width": 512, "height": 512, "preset": "SD 1.5 1024x1024"}, "preset = 'SD 1.5 1024x1024' is not allowed: a "),
        ({"width": 512, "height": 512, "family": "sd3"}, "family = 'sd3' is not allowed: auto, sd15, sd21, sdxl"),
    ],
)
def test_plan_says_what_is_wrong(client: TestClient, query: dict[str, Any], said: str) -> None:
    answer = client.get(ROOT + "/plan", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)


@pytest.mark.parametrize("query", [{}, {"width": 512}, {"width": "wide", "height": 512}, {"width": 1.5, "height": 512}])
def test_plan_without_numbers(client: TestClient, query: dict[str, Any]) -> None:
    assert client.get(ROOT + "/plan", params=query).status_code == 422


@pytest.mark.parametrize("model", [None, SimpleNamespace(), SimpleNamespace(forge_objects=None)])
def test_no_model(host: Host, client: TestClient, model: Any) -> None:
    host.load(model)
    answer = client.get(ROOT + "/plan", params={"width": 512, "height": 512})
    assert answer.status_code == 422
    said = "no model is loaded yet" if model is None else "has no UNet of Stable Diffusion 1.x, 2.x or XL"
    assert said in answer.json()["detail"]
    assert client.get(ROOT + "/status").json() == {"hooks": 0, "running": [], "last": None}
    assert client.get(ROOT + "/plan", params={"width": 512, "height": 512, "family": "sd15"}).status_code == 200


def test_status(host: Host, client: TestClient) -> None:
    assert client.get(ROOT + "/status").json() == {"hooks": 0, "running": [], "last": None}
    seen: list[dict[str, Any]] = []
    host.after_unet = lambda *_: seen.append(client.get(ROOT + "/status").json())
    host.request(True)
    assert all(status["hooks"] > 0 for status in seen)
    assert [[job["job"] for job in status["running"]] for status in seen] == [[1]] * 3
    assert [status["last"] for status in seen] == [None] * 3
    status = client.get(ROOT + "/status").json()
    assert status["hooks"] == 0
    assert status["running"] == []
    run = {"job", "preset", "unet_calls", "calls", "rows", "dilation_by_step"}
    assert set(status["last"]) == set(plan_family("sdxl", 256, 128).to_dict()) | run
    assert (status["last"]["size"], status["last"]["unet_calls"]) == ([256, 128], 2)
    host.request(True, "no such preset")
    last = client.get(ROOT + "/status").json()["last"]
    assert last["active"] is False
    assert "no such preset" in last["reason"]


def test_status_sees_leftovers(host: Host, client: TestClient) -> None:
    p = Processing(host, [True])
    host.event("process", p)
    host.event("process_before_every_sampling", p, x=p.latent(), noise=None, c=None, uc=None)
    assert client.get(ROOT + "/status").json()["hooks"] > 0
    p.close()
    assert client.get(ROOT + "/status").json()["hooks"] == 0


def test_jobs_do_not_mix(host: Host, client: TestClient) -> None:
    """Two requests whose events come in turns, as on a host that works on several."""
    first, second = Processing(host, [True, "Auto", "Both", "published", False]), Processing(host, [True, "Turbo"])
    host.event("process", first)
    host.event("process_before_every_sampling", first, x=first.latent(), noise=None, c=None, uc=None)
    before = client.get(ROOT + "/status").json()
    assert [(job["job"], job["guidance"]) for job in before["running"]] == [(1, False)]
    host.event("process", second)
    host.event("process_before_every_sampling", second, x=second.latent(), noise=None, c=None, uc=None)
    during = client.get(ROOT + "/status").json()
    assert [job["job"] for job in during["running"]] == [1, 2]
    assert during["running"][0] == before["running"][0]
    assert "Turbo" in during["running"][1]["reason"]
    second.close()
    first.close()
    after = client.get(ROOT + "/status").json()
    assert after["running"] == []
    assert (after["last"]["job"], after["last"]["active"], after["last"]["size"]) == (1, True, [256, 128])


def test_a_job_without_an_end_is_forgotten(host: Host, client: TestClient) -> None:
    p = Processing(host, [True])
    host.event("process", p)
    assert client.get(ROOT + "/status").json()["running"] == [{"job": 1}]
    del p
    gc.collect()
    assert client.get(ROOT + "/status").json()["running"] == []


PATHS = ["/presets", "/schema", "/plan?width=512&height=512", "/status"]


@pytest.mark.parametrize("path", PATHS)
def test_open_without_credentials(client: TestClient, path: str) -> None:
    assert client.get(ROOT + path).status_code == 200


@pytest.mark.parametrize(("flags", "code"), [((), 404), (("gradio_auth",), 404), (("nowebui",), 200)])
def test_there_where_the_hosts_api_is(monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], code: int) -> None:
    """The page's login (--gradio-auth) guards the page alone."""
    client = client_of(Host(monkeypatch, "sdxl", flags=flags))
    assert {client.get(ROOT + path).status_code for path in PATHS} == {code}


@pytest.mark.parametrize("path", PATHS)
def test_guarded_by_the_hosts_credentials(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    client = client_of(Host(monkeypatch, "sdxl", api_auth="ann:secret,bob:pass:word"))
    assert client.get(ROOT + path).status_code == 401
    assert client.get(ROOT + path).headers["WWW-Authenticate"] == "Basic"
    for user, password in (("ann", "wrong"), ("ann", ""), ("", ""), ("eve", "secret"), ("bob", "secret"), ("eve", "")):
        assert client.get(ROOT + path, auth=(user, password)).status_code == 401
    for user, password in (("ann", "secret"), ("bob", "pass:word")):
        assert client.get(ROOT + path, auth=(user, password)).status_code == 200


def test_credentials() -> None:
    assert credentials_of(None) == credentials_of("") == {}
    assert credentials_of("a:b") == {"a": "b"}
    assert credentials_of("a:b,c:d:e") == {"a": "b", "c": "d:e"}


def test_routes_are_versioned() -> None:
    assert ROOT == "/fouriscale/v1"
    assert __version__


def test_headline_without_a_model_speaks_of_both_families() -> None:
    text = headline(None, [True], Page(1024, 1024), [])[0]
    assert text.startswith(
        "no model is loaded yet; SD 1.5 1024×1024: dilation 2 over 512×512, about 1.2× time; SDXL 1024×1024: nothing"
    )
    assert "start = 7" in headline(None, [{"start": 7}], Page(1024, 1024), [])[0]
