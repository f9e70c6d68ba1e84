"""The catalogue: what the shop sells, at which price, and until when."""

from domain.catalogue.decider import *
from domain.catalogue.images import *
from domain.catalogue.messages import *
