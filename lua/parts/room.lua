-- What the state says of one key for one model: the texts of its windows, and until when it rests.
local room = {}

-- One HMGET, whatever the number of limits. `limits` are those of the member's set.
function room.read(state, member, model, limits)
  local fields = room.fields(member.account, limits)
  local asked = { unpack(fields) }
  local n = #fields
  asked[n + 1], asked[n + 2], asked[n + 3], asked[n + 4] = cooldown.fields(member.key, member.account, model)
  local found = redis.call('HMGET', state, unpack(asked))
  local rests = 0
  for i = n + 1, n + 4 do
    rests = math.max(rests, cooldown.until_of(found[i]))
  end
  local texts = {}
  for i = 1, n do
    texts[i] = found[i] or ''
  end
  return { limits = limits, fields = fields, texts = texts, rests = rests }
end

function room.fields(account, limits)
  local fields = {}
  for i, limit in ipairs(limits) do
    fields[i] = 'w|' .. account .. '|' .. limit.name
  end
  return fields
end

-- From when on every window has room and nothing rests; a moment in the past: now.
function room.free_at(of)
  local free = of.rests
  for i, limit in ipairs(of.limits) do
    free = math.max(free, window.free_at(limit, of.texts[i]))
  end
  return free
end

-- The same, with regard only to what counts up to `moment`.
function room.free_before(of, moment)
  local free = 0
  for i, limit in ipairs(of.limits) do
    free = math.max(free, window.free_before(limit, of.texts[i], moment))
  end
  return free
end

function room.enter(of, moment, now)
  for i, limit in ipairs(of.limits) do
    of.texts[i] = window.enter(limit, of.texts[i], moment, now)
  end
end

-- Takes the grant of `moment` out of every window that still holds it; returns how many did.
function room.leave(of, moment, now)
  local held = 0
  for i, limit in ipairs(of.limits) do
    local text, found = window.leave(limit, of.texts[i], moment, now)
    of.texts[i] = text
    held = held + (found and 1 or 0)
  end
  return held
end

-- One HSET: the windows, and the clock that they were written by.
function room.write(state, of, clock_text)
  local args = { 'clock', clock_text }
  for i, field in ipairs(of.fields) do
    args[#args + 1] = field
    args[#args + 1] = of.texts[i]
  end
  redis.call('HSET', state, unpack(args))
end
