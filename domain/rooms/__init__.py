"""Rooms: who is in them, who is asked in, and what is said there. A message's place is the version of its room."""

from domain.rooms.allowances import *
from domain.rooms.decider import *
from domain.rooms.messages import *
