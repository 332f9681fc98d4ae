"""What a document is checked for before it is answered: first how much it asks, which is cheap, then whether it fits the schema."""

from __future__ import annotations

from collections.abc import Iterator

from graphql import NoSchemaIntrospectionCustomRule, validate
from strawberry.extensions import SchemaExtension

from api.graphql.limits import Limits

_MOST_ERRORS = 5
"""Told of one document: each may look for what was meant, which takes a millisecond."""


class Checked(SchemaExtension):
    """Takes the place of Strawberry's own validation."""

    def on_validate(self) -> Iterator[None]:
        asked = self.execution_context
        schema, document = asked.schema._schema, asked.graphql_document
        assert document is not None
        rules = list(asked.validation_rules)
        if not asked.context.here.introspection:
            rules.append(NoSchemaIntrospectionCustomRule)
        asked.pre_execution_errors = validate(schema, document, [Limits]) or validate(
            schema, document, rules, max_errors=_MOST_ERRORS, hide_suggestions=not asked.context.here.introspection
        )
        yield
