"""Queries the console offers, ready to run; a test runs each."""

from __future__ import annotations

from typing import Any

READY: dict[str, dict[str, Any]] = {
    "Critical alerts": {
        "query": """query ($first: Int!, $after: String) {
  alerts(filter: {level: "CRITICAL"}, first: $first, after: $after) {
    nodes { id level kind entity text score events lastAt patterns accounts ring topEventId }
    pageInfo { endCursor hasNextPage }
  }
}""",
        "variables": {"first": 20},
    },
    "Why an event was given its score": {
        "query": """query ($event: String!) {
  assessment(eventId: $event) {
    eventId type at user score level action degraded
    reasons { code text contribution kind entity }
    scores { name value }
    entities { kind id }
  }
}""",
        "variables": {"event": "example-1"},
    },
    "What had changed the advice, and the facts for the file": {
        "query": """query ($event: String!) {
  explanation(eventId: $event) {
    score level action summary
    flip { score action changes { kind entity feature usual } }
    evidence { kind entity text less share without { score action } }
    features { name value usual high asUsual { score action } }
    habits { kind what text }
  }
  replay(eventId: $event) { identical differences { what then now } versions { what then now } taken trouble }
}""",
        "variables": {"event": "example-1"},
    },
    "An entity and its neighbours": {
        "query": """query ($kind: String!, $id: String!) {
  entity(kind: $kind, id: $id) {
    kind id firstAt lastAt events alerts degree
    neighbours(first: 30, hops: 2) {
      nodes { kind id depth degree events alerts cut }
      links { user kind id lastAt events }
      cuts
    }
  }
}""",
        "variables": {"kind": "device", "id": "d-3"},
    },
    "Rings by risk": {
        "query": "{ rings(first: 20) { nodes { id risk users things bornAt lastAt patterns amountMinor } } }",
        "variables": {},
    },
    "A ring": {
        "query": """query ($ring: String!) {
  ring(id: $ring) {
    summary { id risk users things }
    foundingEvent settledAt truncated
    parts { code text value }
    members(first: 50) { user joinedAt young departed fraud patterns }
    shared(first: 50) { kind entity users verdict }
  }
}""",
        "variables": {"ring": "of `rings` above"},
    },
    "A ring's past": {
        "query": """query ($ring: String!, $at: String, $after: String) {
  ring(id: $ring, asOf: $at) {
    then { at status users busted changedAt complete members(first: 50) { user joinedAt } }
    timeline(first: 50, after: $after) { nodes { number at what text eventId users joined left rings } pageInfo { endCursor hasNextPage } }
  }
}""",
        "variables": {"ring": "of `rings` above", "at": "2026-05-01T12:00:00Z"},
    },
}
