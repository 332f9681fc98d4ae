"""The schema that is promised: what was released goes on working."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema
from graphql.utilities import find_breaking_changes

from api.graphql.query import schema

RELEASED = Path(__file__).parents[2] / "api" / "schema.released.graphql"


def breaks(old: GraphQLSchema, new: str) -> list[str]:
    return [change.description for change in find_breaking_changes(old, build_schema(new))]


def test_nothing_that_was_released_is_taken_away() -> None:
    """A change that breaks callers goes with a line in CHANGELOG.md and `make schema-release`."""
    assert breaks(build_schema(RELEASED.read_text()), schema.as_str()) == []


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("  blastRadius(", "  blast("),
        ("  claimedBy: String\n", "  claimedBy: Int\n"),
        ("  claimCase(", "  claimCase(whose: String!, "),
        ("  notes: [CaseNote!]!", "  notes: [CaseNote]"),
    ],
)
def test_what_breaks_callers_is_found(there: str, instead: str) -> None:
    printed = schema.as_str()
    assert there in printed
    assert breaks(build_schema(printed), printed.replace(there, instead))
