"""What a document is checked for before it is answered: first how much it asks, which is cheap, then whether it fits the schema."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from graphql import DocumentNode, NoSchemaIntrospectionCustomRule, validate
from strawberry.extensions import SchemaExtension

from api.graphql.limits import asks_too_much

_REMEMBERED = 500
"""Documents; a console asks the same ones over and over."""
_MOST_ERRORS = 5
_BY_HAND = 2_000
"""Characters; of a document that is no longer each mistake may be told with what was perhaps meant, which takes a millisecond to find."""


class _Good:
    """Documents that had no mistake, the latest asked for: neither parsed nor looked at again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bool], DocumentNode] = OrderedDict()

    def get(self, key: tuple[str, bool]) -> DocumentNode | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: tuple[str, bool], document: DocumentNode) -> None:
        with self._lock:
            self._known[key] = document
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


_good = _Good()
"""There is one schema in a process."""


class Checked(SchemaExtension):
    """Takes the place of Strawberry's own validation."""

    @property
    def _key(self) -> tuple[str, bool]:
        """The text, and whether the schema is told."""
        return self.execution_context.query or "", self.execution_context.context.here.introspection

    def on_parse(self) -> Iterator[None]:
        self.execution_context.graphql_document = _good.get(self._key)
        yield

    def on_validate(self) -> Iterator[None]:
        asked, (text, introspection) = self.execution_context, self._key
        schema, document = asked.schema._schema, asked.graphql_document
        assert document is not None
        asked.pre_execution_errors = []
        if _good.get(self._key) is not document:
            rules = [*asked.validation_rules, *([] if introspection else [NoSchemaIntrospectionCustomRule])]
            hide = not introspection or len(text) > _BY_HAND
            asked.pre_execution_errors = asks_too_much(document) or validate(
                schema, document, rules, max_errors=_MOST_ERRORS, hide_suggestions=hide
            )
            if not asked.pre_execution_errors:
                _good.put(self._key, document)
        yield
