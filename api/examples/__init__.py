"""Examples for the OpenAPI document, one for each body and each answer: made by the shop's own models and rules.

None of them is written down as JSON, so none can tell of a shop that there no longer is.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from api.examples.answers import answers
from api.examples.bodies import bodies, files


@cache
def examples() -> Mapping[Any, Any]:
    """By the model, or by the media type of what has none."""
    return {**bodies(), **files(), **answers()}
