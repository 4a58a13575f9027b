-- The provider's throttle, or that of the address we come from: the same refusal without details from several accounts
-- within seconds is not the keys'. Then the pool rests, doubling from FIRST to MOST until a request succeeds, and no key.
--
-- The field `t|POOL` has the latest such refusals, a line each: moment|end of the rest that it set|account|field of that.
local throttle = { ACCOUNTS = 3, WITHIN = 5e6, FIRST = 1e6, MOST = 60e6 }

local function pause(state, pool, old, moment, now)
  local set = { delay = throttle.FIRST, most = throttle.MOST, kind = '1', request = '', reason = 'throttled' }
  local text, ends = cooldown.set(old, now, moment, set)
  redis.call('HSET', state, 'c|pool|' .. pool, text)
  return ends
end

-- The latest refusals of other accounts, as lines.
local function others(state, pool, account, now)
  local lines = {}
  for line in string.gmatch(redis.call('HGET', state, 't|' .. pool) or '', '[^\n]+') do
    local at, ends, owner, field = string.match(line, '^(%d+)|(%d+)|([^|]*)|(.*)$')
    if tonumber(at) + throttle.WITHIN > now and owner ~= account then
      lines[#lines + 1] = { text = line, ends = tonumber(ends), account = owner, field = field }
    end
  end
  return lines
end

-- A refusal without details. Until when the pool rests for it; nil: it may still be the key's.
function throttle.seen(state, pool, account, moment, now, wakes)
  local resting = cooldown.read(redis.call('HGET', state, 'c|pool|' .. pool))
  if resting and resting.ends + throttle.MOST > now then
    return pause(state, pool, resting, moment, now)
  end
  local lines = others(state, pool, account, now)
  if #lines + 1 < throttle.ACCOUNTS then
    return nil
  end
  -- The rests that it was taken for are no keys' either, unless more was learnt of them since.
  for _, line in ipairs(lines) do
    local rest = cooldown.read(redis.call('HGET', state, line.field))
    if rest and rest.ends == line.ends then
      redis.call('HDEL', state, line.field)
      rotation.wake(wakes, { line.account }, now)
    end
  end
  redis.call('HDEL', state, 't|' .. pool)
  return pause(state, pool, nil, moment, now)
end

-- Whether the rest that ends then was set for such a refusal, and nothing else was learnt of the account since.
function throttle.set_it(state, pool, account, ends)
  local text = '\n' .. (redis.call('HGET', state, 't|' .. pool) or '') .. '\n'
  return string.find(text, '|' .. clock.text(ends) .. '|' .. account .. '|', 1, true) ~= nil
end

-- The key was taken to be at fault and rests until `ends`, for this refusal alone.
function throttle.remember(state, pool, account, field, ends, now)
  local texts = {}
  for i, line in ipairs(others(state, pool, account, now)) do
    texts[i] = line.text
  end
  texts[#texts + 1] = clock.text(now) .. '|' .. clock.text(ends) .. '|' .. account .. '|' .. field
  redis.call('HSET', state, 't|' .. pool, table.concat(texts, '\n'))
end
