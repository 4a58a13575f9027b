-- The provider's throttle, or that of the address we come from: the same refusal without details from several accounts
-- within seconds is not the keys'. Then the pool rests, and no key, from FIRST or what was named on, doubling to MOST,
-- until a request succeeds.
--
-- The same is: no length either, or one that ends with the others'. Quotas of the keys' own seldom end together. Who may
-- be wrong about a length that was named leaves the rests that it has set: they cost two keys, and where it was a quota
-- after all they are what keeps the pool from pausing again for the same keys.
--
-- The field `t|POOL` has the latest such refusals, a line each: moment|end of the rest that it set|account|field of that,
-- or nothing where its length was named.
local throttle = { ACCOUNTS = 3, WITHIN = 5e6, FIRST = 1e6, MOST = 60e6 }

-- `told` is the length that was named, or 0.
local function pause(state, pool, old, moment, told, now)
  local delay = math.min(throttle.MOST, math.max(throttle.FIRST, told))
  local set = { delay = delay, most = throttle.MOST, kind = '1', request = '', reason = 'throttled' }
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

local function alike(lines, told, now)
  local same = {}
  for _, line in ipairs(lines) do
    local ends_with_it = line.field == '' and math.abs(line.ends - now - told) <= throttle.WITHIN
    if told == 0 and line.field ~= '' or told > 0 and ends_with_it then
      same[#same + 1] = line
    end
  end
  return same
end

-- A refusal without details. Until when the pool rests for it (nil: it may still be the key's), and what is no more taken
-- for a key's: field and account of each rest.
function throttle.seen(state, pool, account, moment, told, now, wakes)
  local resting = cooldown.read(redis.call('HGET', state, 'c|pool|' .. pool))
  if resting and resting.ends + throttle.MOST > now then
    return pause(state, pool, resting, moment, told, now), {}
  end
  local lines, back = alike(others(state, pool, account, now), told, now), {}
  if #lines + 1 < throttle.ACCOUNTS then
    return nil, back
  end
  -- The rests that it was taken for are no keys' either, unless more was learnt of them since.
  for _, line in ipairs(told == 0 and lines or {}) do
    local rest = cooldown.read(redis.call('HGET', state, line.field))
    if rest and rest.ends == line.ends then
      redis.call('HDEL', state, line.field)
      rotation.wake(wakes, { line.account }, now)
      back[#back + 1], back[#back + 2] = line.field, line.account
    end
  end
  redis.call('HDEL', state, 't|' .. pool)
  return pause(state, pool, nil, moment, told, now), back
end

-- Whether the rest that ends then was set for such a refusal (one that named no length: for the like, in this field), and
-- nothing else was learnt of the account since.
function throttle.set_it(state, pool, account, field, told, ends)
  local text = '\n' .. (redis.call('HGET', state, 't|' .. pool) or '') .. '\n'
  local line = '|' .. clock.text(ends) .. '|' .. account .. '|' .. (told == 0 and field .. '\n' or '')
  return string.find(text, line, 1, true) ~= nil
end

-- The key was taken to be at fault and rests until `ends`, for this refusal alone.
function throttle.remember(state, pool, account, field, told, ends, now)
  local texts = {}
  for i, line in ipairs(others(state, pool, account, now)) do
    texts[i] = line.text
  end
  local kept = told == 0 and field or ''
  texts[#texts + 1] = clock.text(now) .. '|' .. clock.text(ends) .. '|' .. account .. '|' .. kept
  redis.call('HSET', state, 't|' .. pool, table.concat(texts, '\n'))
end
