"""Rate limits: each route has one class, each class one gate through which its requests go."""

from api.rate_limits.factory import Gates, open_gates
from api.rate_limits.policies import CLASSES, class_of, route_key

__all__ = ["CLASSES", "Gates", "class_of", "open_gates", "route_key"]
