"""Orders: ``pending → paid → shipped → done``, and ``cancelled`` before the payment or ``refunded`` after it."""

from domain.orders.claims import *
from domain.orders.decider import *
from domain.orders.lines import *
from domain.orders.messages import *
