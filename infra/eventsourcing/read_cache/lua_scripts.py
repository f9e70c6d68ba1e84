"""Lua scripts on a cached document in Redis: four, each on one key, so that a cluster can run them.

After "leases" in *Scaling Memcache at Facebook* (NSDI 2013): a reader that misses leaves a mark; its value is taken
only while that very mark is still there. A consumer's refresh removes the mark, and an eviction does so too, so that a
slow reader can never put an older document over a newer one, nor in the place of a newer one that is gone.

Nor can a slow consumer. A refresh puts a newer document in the place of an older one; to where none is, it brings one
only under a mark of its own that it left before it committed: the refresh of any later commit has removed that. Where
neither is newer (a stream that was parked is applied late, and leaves its row at the same position) nobody here knows
which of two is right, so that none is kept.

What is no string is nobody's document: whichever script comes upon it takes it away, and goes on as after an eviction.
Else it would be refused, again and again, and with it whatever is brought or looked for at the same time.
"""

from typing import Final

from infra.redis.script import Script

_ASK: Final = """
local function ask(command, ...)
  local held = redis.pcall(command, KEYS[1], ...)
  if type(held) ~= 'table' then return held end
  redis.call('DEL', KEYS[1])
  return false
end
"""
"""What a command says of the key; false where there is nothing, or was something of another type."""

LOOK: Final = Script(f"""{_ASK}
local held = ask('GET')
if held then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
""")
"""[mark, milliseconds] → what is held: a document or somebody else's mark; or nil, and now it is ours."""

FILL: Final = Script(f"""{_ASK}
if ask('GET') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
"""[mark, frame, milliseconds] → 1 if our mark was still there."""

FORGO: Final = Script(f"""{_ASK}
if ask('GET') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
"""[mark] → takes our mark away: there was nothing to fetch. Or what is no document, as it was found."""

REFRESH: Final = Script(f"""{_ASK}
local held = ask('GETRANGE', 0, 20)
if not held or held == '' then return 0 end
local bar = string.find(held, '|', 1, true)
local position = bar and tonumber(string.sub(held, 1, bar - 1))
if position and position > tonumber(ARGV[1]) then return 0 end
if position and position < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
held = redis.call('GET', KEYS[1])
if held == ARGV[2] then return 0 end
if held == ARGV[4] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return redis.call('DEL', KEYS[1])
""")
"""[position, frame, milliseconds, mark] → 1 if something was replaced, or taken away: a mark that is not this one, or
another document of the same position. Positions are exact up to 2^53."""

SCRIPTS: Final = (LOOK, FILL, FORGO, REFRESH)
