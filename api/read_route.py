"""A FastAPI route that refuses query parameters it does not know: a slip in a filter would otherwise show everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from ingest.values import show
from ringwatch.errors import BadInput, did_you_mean


class ReadRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle: Any = super().get_route_handler()
        known = [param.alias for param in self.dependant.query_params]
        path = self.path

        async def checked(request: Request) -> Response:
            request.scope["ringwatch.route"] = path
            if request.scope["query_string"]:
                for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
                    if name not in known:
                        hint = did_you_mean(show(name), known, "there are none here" if not known else "")
                        raise BadInput(
                            f"the query has {show(name, quote=True)}, which is not known", hint=hint, field=show(name)
                        )
                    if times > 1:
                        raise BadInput(f"the query has {name} {times} times", hint="give it once", field=name)
            found: Response = await handle(request)
            return found

        return checked
