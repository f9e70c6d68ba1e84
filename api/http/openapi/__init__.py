"""The OpenAPI document: FastAPI's description of the routes, and what the edge adds to each of them.

What is said of a field stands where the field is defined, and what a route's rules refuse where the route is declared
(:mod:`api.refusals`). All else follows here from what a route is.
"""

from api.http.openapi.document import METADATA, describe, routes
from api.http.openapi.facts import NOT_KEYED

__all__ = ["METADATA", "NOT_KEYED", "describe", "routes"]
