"""Rate limits: each route has one class, each class one gate through which its requests go."""

from api.rate_limits.factory import Gates, open_gates
from api.rate_limits.policies import CLASSES, LimitClass, class_of, limited, marked

__all__ = ["CLASSES", "Gates", "LimitClass", "class_of", "limited", "marked", "open_gates"]
