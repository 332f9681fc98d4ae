"""An investigation from the alert to the block and back, as an investigator does it: over GraphQL alone, beside the stream."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

ALERTS = 'subscription($a: String) { alerts(after: $a, level: "HIGH") { cursor alert { id kind ring score level text topEventId accounts } } }'
RING = """query($r: String!) { ring(id: $r) { summary { id users risk patterns } foundingEvent parts { code text value }
  members { user joinedAt } shared { kind entity users verdict } links { user kind id } timeline(first: 50) { nodes { what text at } } } }"""
WHY = """query($a: String!) { explanation(alertId: $a) { eventId score level addsUpTo reasons { code text contribution }
  evidence { kind entity text less share without { score } } flip { score action changes { kind entity feature } } summary } }"""
BLAST = "query($r: String!) { blastRadius(ring: $r) { entries accounts neverFlagged longClean cuts } }"
BLOCK = """mutation($r: String!) { decide(input: {verdict: "block", ring: $r, reason: "one device, many accounts"}) { __typename
  ... on Act { id entries } ... on Refused { message } } }"""
INNOCENT = """mutation($k: String, $i: String) { decide(input: {verdict: "innocent", kind: $k, id: $i, reason: "a shop's tablet"}) {
  __typename ... on Act { id } ... on Refused { message } } }"""
UNDO = 'mutation($a: String!) { undo(actId: $a, reason: "the bank cleared them") { __typename ... on Act { undoneAt } ... on Refused { message } } }'
CASE = "query($r: String!) { cases(filter: {ring: $r}) { nodes { id version status alertCount priority } } }"
CLAIM = "mutation($c: String!) { claimCase(id: $c) { __typename ... on Case { claimedBy version } ... on Refused { message } } }"
CLOSE = """mutation($c: String!) { closeCase(id: $c, outcome: "fraud", reason: "blocked as a ring") { __typename
  ... on Case { status outcome } ... on Refused { message } } }"""
TRAIL = "query { audit(first: 20) { nodes { did target who why hash } } }"
REPLAY = "query($a: String, $e: String) { replay(alertId: $a, eventId: $e) { identical differences { what } } }"
_WAIT_S, _ALERT_S = 60.0, 3.0
_PAST_A_MARK = 300
"""Events of ten hours: the risk of a ring is worked out every six."""


class Investigator:
    """Asks one server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60.0)
        self._ws_url = url.replace("http", "ws", 1) + "/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._http.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def until(self, query: str, good: Callable[[Any], bool], **variables: Any) -> Any:
        """Asks again until the answer is good: what is written behind comes a little later."""
        until = time.monotonic() + _WAIT_S
        while not good(found := self.ask(query, **variables)):
            assert time.monotonic() < until, found
            time.sleep(0.1)
        return found

    def score(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post("/v1/score", json=event)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @contextmanager
    def subscribed(self, query: str, **variables: Any) -> Iterator[ClientConnection]:
        with connect(self._ws_url, subprotocols=["graphql-transport-ws"], open_timeout=20) as ws:  # type: ignore[list-item]
            ws.send(json.dumps({"type": "connection_init"}))
            assert json.loads(ws.recv(timeout=20))["type"] == "connection_ack"
            ws.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query, "variables": variables}}))
            yield ws

    def close(self) -> None:
        self._http.close()


def investigate(url: str, events: Sequence[dict[str, Any]]) -> None:
    """`events`: of a market, in order of time, labels left out. Everything an investigator does to one ring is asserted."""
    who = Investigator(url)
    try:
        with who.subscribed(ALERTS, a=None) as ws:
            time.sleep(1.0)
            alert, sent = _first_ring_alert(who, ws, events)
        ring_id = alert["ring"]
        ring = who.until(RING, lambda found: found["ring"] is not None, r=ring_id)["ring"]
        assert ring["summary"]["users"] == len(ring["members"]) >= 3
        assert ring["shared"], "what they share is named"
        assert ring["timeline"]["nodes"], "its history is told"
        why = who.ask(WHY, a=alert["id"])["explanation"]
        assert abs(why["addsUpTo"] - why["score"]) < 1e-6
        assert abs(sum(r["contribution"] for r in why["reasons"]) - why["addsUpTo"]) < 1e-6
        assert why["evidence"]
        assert why["evidence"][0]["without"]["score"] <= why["score"]
        assert why["summary"]
        blast = who.ask(BLAST, r=ring_id)["blastRadius"]
        assert blast["accounts"] >= len(ring["members"])
        (case,) = who.until(CASE, lambda found: found["cases"]["nodes"], r=ring_id)["cases"]["nodes"][:1]
        assert who.ask(CLAIM, c=case["id"])["claimCase"]["__typename"] == "Case"
        act = who.ask(BLOCK, r=ring_id)["decide"]
        assert act["__typename"] == "Act", act
        assert act["entries"] == blast["entries"]
        before = next(e for e in reversed(events[:sent]) if e.get("user") in {m["user"] for m in ring["members"]})
        blocked = who.score({**before, "event_id": "next-of-the-ring", "at": events[sent]["at"]})
        assert (blocked["action"], blocked["score"]) == ("block", 1.0)
        assert any(r["code"] == "listed.blocked" for r in blocked["reasons"])
        closed = who.ask(CLOSE, c=case["id"])["closeCase"]
        assert (closed["__typename"], closed["outcome"]) == ("Case", "fraud"), closed
        assert who.ask(UNDO, a=act["id"])["undo"]["undoneAt"]
        freed = who.score({**before, "event_id": "after-the-undo", "at": events[sent]["at"]})
        assert not any(r["code"] == "listed.blocked" for r in freed["reasons"])
        for event in events[sent : sent + _PAST_A_MARK]:
            who.score(event)
        thing = who.until(RING, lambda found: found["ring"]["parts"], r=ring_id)["ring"]["shared"][0]
        judged = who.ask(INNOCENT, k=thing["kind"], i=thing["entity"])["decide"]
        assert judged["__typename"] == "Act", judged
        eased = who.until(RING, _is_eased, r=ring_id)["ring"]
        assert abs(sum(p["value"] for p in eased["parts"]) - eased["summary"]["risk"]) < 1e-6
        assert who.ask(UNDO, a=judged["id"])["undo"]["undoneAt"]
        who.until(RING, lambda found: not _is_eased(found), r=ring_id)
        for n, member in enumerate(ring["members"][:2]):
            at = events[sent + _PAST_A_MARK]["at"]
            who.score(
                {"event_id": f"on-the-campus-{n}", "type": "login", "at": at, "user": member["user"], "ip": "campus-ip"}
            )
            who.until(REPLAY, lambda found: found["replay"] is not None, e=f"on-the-campus-{n}")
        campus = who.ask(INNOCENT, k="ip", i="campus-ip")["decide"]
        assert campus["__typename"] == "Act", campus
        placed = who.until(RING, _is_eased, r=ring_id)["ring"]
        assert abs(sum(p["value"] for p in placed["parts"]) - placed["summary"]["risk"]) < 1e-6
        assert who.ask(UNDO, a=campus["id"])["undo"]["undoneAt"]
        who.until(RING, lambda found: not _is_eased(found), r=ring_id)
        assert who.ask(REPLAY, a=alert["id"])["replay"] == {"identical": True, "differences": []}
        found = who.until(REPLAY, lambda found: found["replay"] is not None, e="next-of-the-ring")["replay"]
        assert found == {"identical": True, "differences": []}
        did = [e["did"] for e in who.ask(TRAIL)["audit"]["nodes"]]
        assert did == ["undo", "innocent", "undo", "innocent", "undo", "case.close", "block", "case.claim"]
    finally:
        who.close()


def _is_eased(found: Any) -> bool:
    return "judged_innocent" in {p["code"] for p in found["ring"]["parts"]}


def _first_ring_alert(
    who: Investigator, ws: ClientConnection, events: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], int]:
    """The first that is of a ring, and how many events were sent by then."""
    for n, event in enumerate(events, 1):
        assessment = who.score(event)
        if assessment["ring"] is None or not assessment["patterns"]:
            continue
        for alert in _told(ws):
            if alert["kind"] == "ring":
                return alert, n
    raise AssertionError("no ring was alerted")


def _told(ws: ClientConnection) -> Iterator[dict[str, Any]]:
    """What has come; waits for the first as long as an alert may take."""
    wait_s = _ALERT_S
    with suppress(TimeoutError):
        while True:
            message = json.loads(ws.recv(timeout=wait_s))
            assert message["type"] == "next", message
            yield message["payload"]["data"]["alerts"]["alert"]
            wait_s = 0.1
