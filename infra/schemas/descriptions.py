"""The OpenAPI document's words for the fields of a dataclass: what stands below each of them."""

from typing import Final

from pydantic import ConfigDict

DESCRIBED: Final = ConfigDict(use_attribute_docstrings=True)
"""For its ``__pydantic_config__``; holds for the dataclasses within it, too."""
