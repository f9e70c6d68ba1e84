"""Webhooks: who outside is told of which events, and where."""

from domain.webhooks.decider import *
from domain.webhooks.destinations import *
from domain.webhooks.messages import *
