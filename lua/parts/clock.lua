-- The one clock: Redis TIME in microseconds, kept from going back.
--
-- The field `clock` of the state is 32 digits: the moment of the last write, and an offset. A clock that was stepped
-- back, or a failover to a node whose clock is behind, goes on from the last write by way of the offset, which shrinks
-- by a tenth of the time that passes; once the raw clock is past that moment by itself it is dropped. So time runs
-- slow for a while, never fast: windows last a ninth longer and no budget is broken, but for the day or month whose end
-- lies within the offset.
local clock = {}

local texts = { [0] = '0000000000000000' }

-- `given` is "" or, in tests, the raw moment. Returns now, the text to store beside whatever is written, and whether
-- accounts were given other names of late (parts/accounts.lua).
function clock.read(state, given)
  local raw = tonumber(given)
  if not raw then
    local time = redis.call('TIME')
    raw = tonumber(time[1]) * 1000000 + tonumber(time[2])
  end
  local found = redis.call('HMGET', state, 'clock', 'moved')
  local text = found[1] or string.rep('0', 32)
  local last, offset = tonumber(string.sub(text, 1, 16)), 0
  if raw < last then
    offset = tonumber(string.sub(text, 17))
    local passed = raw + offset - last
    offset = passed < 0 and last - raw or offset - math.floor(passed / 10)
  end
  local now = raw + offset
  return now, clock.text(now) .. clock.text(offset), found[2] and now < tonumber(found[2])
end

-- Moments are text of 16 digits: a JSON or Lua number would lose the last ones on its way through Redis. Each is written
-- once: a grant's stands in every window that it enters, and to format one costs as much as a command.
function clock.text(moment)
  local text = texts[moment]
  if not text then
    text = string.format('%016.0f', moment)
    texts[moment] = text
  end
  return text
end
