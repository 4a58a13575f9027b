-- cache_keep: keep an answer, if this Redis has room for it, and end the run that it came of.
--
-- KEYS  1        entry      STRING  the answer
--       2        run        STRING  as in cache_look
--       3        sizes      HASH    `total` -> bytes of all answers; a minute -> of those that expire in it; `swept` -> the
--                                   last minute whose bytes were taken off
-- ARGV  now      "" or, in tests, microseconds
--       token    of the run; "" where the request ran for itself
--       none     milliseconds in which who asks the same goes alone, where the answer is not kept
--       ttl      milliseconds that it is kept
--       most     bytes that all answers may have together
--       own      1: this Redis has nothing but answers, so where it evicts it may be as full as it likes
--       answer   the text
-- returns        `kept`; or why not: {`total`, bytes of all answers, most}, {`memory`, bytes used, maxmemory}, or
--                {`refused`, Redis's words}
-- cost           at most 13 commands, one of them INFO (40 us); once a minute 3 more, in proportion to the minutes in which any expire
--
-- The sizes expire with the last answer, so what Redis evicts is counted until it would have expired.
--@ use args memory run
local EACH = 250 -- bytes of a key's name and what Redis knows of it
local now, token, none = args.text(), args.text(), args.text()
if now == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local ttl, most, own, answer = args.number(), args.number(), args.text() == '1', args.text()
local now_ms, size = math.floor(tonumber(now) / 1000), #answer + EACH

local function minute_of(ms)
  return math.floor(ms / 60000)
end

-- Takes off what has expired, once a minute; returns the bytes of what has not.
local function swept()
  local known = redis.call('HMGET', KEYS[3], 'total', 'swept')
  local total, this = tonumber(known[1] or 0), minute_of(now_ms)
  if not known[2] or tonumber(known[2]) >= this then
    return total
  end
  local fields, gone = redis.call('HGETALL', KEYS[3]), {}
  for i = 1, #fields, 2 do
    local minute = tonumber(fields[i])
    if minute and minute < this then
      gone[#gone + 1] = fields[i]
      total = total - tonumber(fields[i + 1])
    end
  end
  for i = 1, #gone, 1000 do
    redis.call('HDEL', KEYS[3], unpack(gone, i, math.min(i + 999, #gone)))
  end
  redis.call('HSET', KEYS[3], 'total', total, 'swept', this)
  return total
end

-- Adds to the bytes that expire so many milliseconds from now.
local function count(left, bytes)
  redis.call('HINCRBY', KEYS[3], string.format('%.0f', minute_of(now_ms + left)), bytes)
end

local function kept()
  local told = memory.read()
  local used, bound = told and tonumber(told[1]) or 0, told and tonumber(told[2]) or 0
  local evicts = own and bound > 0 and told[3] ~= 'noeviction'
  if bound > 0 and not evicts and 2 * used > bound then
    return { 'memory', told[1], told[2] }
  end
  local total, before, left = swept(), redis.call('STRLEN', KEYS[1]), redis.call('PTTL', KEYS[1])
  before = left > 0 and before + EACH or 0
  if not evicts and total + size - before > most then
    return { 'total', string.format('%.0f', total), string.format('%.0f', most) }
  end
  local done = redis.pcall('SET', KEYS[1], answer, 'PX', ttl)
  if done.err then
    return { 'refused', done.err }
  end
  if before > 0 then
    count(left, -before)
  end
  count(ttl, size)
  redis.call('HSET', KEYS[3], 'total', total + size - before, 'swept', minute_of(now_ms))
  if redis.call('PTTL', KEYS[3]) < ttl + 60000 then
    redis.call('PEXPIRE', KEYS[3], ttl + 60000)
  end
  return 'kept'
end

local came = kept()
run.over(KEYS[2], token, came == 'kept' and '0' or none)
return came
