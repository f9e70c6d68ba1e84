"""Accounts: who may sign in, under which unique email and username, with which roles.

Passwords and all that is derived from them are not events: they live beside the log and can be forgotten.
"""

from domain.accounts.decider import *
from domain.accounts.endings import *
from domain.accounts.messages import *
from domain.accounts.names import *
from domain.accounts.state import *
