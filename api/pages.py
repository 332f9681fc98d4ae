"""Pages for a browser: start, API description, GraphQL console. Each one file that asks nothing of any network.

Their policy allows the script and style that stand in them, by hash, and requests to this server.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.problems import SAID
from api.served import served


@cache
def text_of(name: str) -> str:
    return files("api").joinpath("static", name).read_text(encoding="utf-8")


def page(
    title: str, body: str, *, script: str = "", data: dict[str, Any] | None = None, keys: bool = False
) -> Response:
    """A page; `data` is put into it as JSON with the id `ready`."""
    style = text_of("page.css")
    inside = json.dumps(data or {}).replace("<", "\\u003c")
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>{style}</style></head><body data-keys="{str(keys).lower()}"><main>{body}</main>'
        f'<script type="application/json" id="ready">{inside}</script>'
        f"<script>{script}</script></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(html, 200, {"content-security-policy": policy}, "text/html")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


async def docs(request: Request) -> Response:
    """What there is to ask, from the OpenAPI document; with examples to send."""
    codes = "".join(f'<tr id="problem-{code}"><td><code>{code}</code><td>{escape(said)}' for code, said in SAID.items())
    body = (
        '<h1>Ringwatch API</h1><p class="quiet">From <a href="/openapi.json">/openapi.json</a>. GraphQL: '
        '<a href="/graphql">/graphql</a>. Errors are problem documents: `code` names the kind, `detail` what was wrong with which '
        "value, `hint` what to do next.</p>"
        f'<details id="problems"><summary>What the codes of problems mean</summary><table>{codes}</table></details>'
    )
    request.scope["ringwatch.route"] = "/docs"
    return page("Ringwatch API", body, script=text_of("docs.js"), keys=served(request).access.keys_needed)


async def start(request: Request) -> Response:
    """Where to go."""
    request.scope["ringwatch.route"] = "/"
    links = (
        ("/docs", "the API, with examples to send"), ("/graphql", "GraphQL console with ready queries"),
        ("/v1/alerts", "alerts, newest first"), ("/v1/rings", "rings, highest risk first"), ("/status", "how it is going"),
    )  # fmt: skip
    rows = "".join(f'<tr><td><a href="{path}">{path}</a></td><td>{text}</td></tr>' for path, text in links)
    return page("Ringwatch", f"<h1>Ringwatch</h1><table>{rows}</table>")


def console(ready: dict[str, Any]) -> Response:
    """The GraphQL console."""
    body = (
        '<h1>GraphQL</h1><p><select id="pick"></select> <button id="run">Run (Ctrl+Enter)</button></p><div class="two"><div>'
        '<textarea id="query" rows="24" spellcheck="false"></textarea><p class="quiet">Variables</p>'
        '<textarea id="variables" rows="5" spellcheck="false"></textarea></div><pre id="result"></pre></div>'
    )
    return page("Ringwatch GraphQL", body, script=text_of("console.js"), data=ready)
