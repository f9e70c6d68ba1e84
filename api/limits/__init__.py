"""Rate limits: each route has one class, each class one gate through which its requests go."""

from api.limits.classes import CLASSES, class_of, route_key
from api.limits.opening import Gates, open_gates

__all__ = ["CLASSES", "Gates", "class_of", "open_gates", "route_key"]
