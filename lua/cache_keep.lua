-- cache_keep: keep an answer, if this Redis has room for it, and end the run that it came of.
--
-- KEYS  1        entry      STRING  the answer
--       2        run        STRING  as in cache_look
--       3        sizes      HASH    `total` -> bytes of all answers; a moment in milliseconds -> of those that have expired
--                                   by then; `next` -> the first of these moments
-- ARGV  now      "" or, in tests, microseconds
--       token    of the run; "" where the request ran for itself
--       none     milliseconds in which who asks the same goes alone, where the answer is not kept
--       ttl      milliseconds that it is kept
--       most     bytes that all answers may have together
--       own      1: this Redis has nothing but answers, so where it evicts it may be as full as it likes
--       answer   the text
-- returns        `kept`; or why not: {`total`, bytes of all answers, most}, {`memory`, bytes used, maxmemory}, or
--                {`refused`, Redis's words}
-- cost           at most 13 commands, one of them INFO (40 us); where a moment has come 3 more, in proportion to all moments
--
-- A moment is the end of an answer, rounded up to a multiple of a sixtieth of its ttl: so there are at most 62 of them for
-- each ttl, what has expired counts a sixtieth longer, and what was kept by a former ttl as long as it would have. What is
-- replaced counts no more, but for its last sixtieth. The sizes expire with the last answer, so what Redis evicts is counted
-- until it would have expired.
--@ use args memory run
local EACH = 250 -- bytes of a key's name and what Redis knows of it
local NEVER = 1e15
local now, token, none = args.text(), args.text(), args.text()
if now == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local ttl, most, own, answer = args.number(), args.number(), args.text() == '1', args.text()
local now_ms, size, step = math.floor(tonumber(now) / 1000), #answer + EACH, math.ceil(ttl / 60)

-- Takes off what has expired; returns the bytes of what has not, and the first moment at which any of it will have.
local function swept()
  local known = redis.call('HMGET', KEYS[3], 'total', 'next')
  local total, first = tonumber(known[1] or 0), tonumber(known[2] or NEVER)
  if first > now_ms then
    return total, first
  end
  local fields, gone = redis.call('HGETALL', KEYS[3]), {}
  first = NEVER
  for i = 1, #fields, 2 do
    local at = tonumber(fields[i])
    if at and at <= now_ms then
      gone[#gone + 1] = fields[i]
      total = total - tonumber(fields[i + 1])
    elseif at then
      first = math.min(first, at)
    end
  end
  for i = 1, #gone, 1000 do
    redis.call('HDEL', KEYS[3], unpack(gone, i, math.min(i + 999, #gone)))
  end
  redis.call('HSET', KEYS[3], 'total', total, 'next', first)
  return total, first
end

-- Adds to the bytes that count until a moment.
local function count(at, bytes)
  redis.call('HINCRBY', KEYS[3], string.format('%.0f', at), bytes)
end

local function kept()
  local told = memory.read()
  local used, bound = told and tonumber(told[1]) or 0, told and tonumber(told[2]) or 0
  local evicts = own and bound > 0 and told[3] ~= 'noeviction'
  if bound > 0 and not evicts and 2 * used > bound then
    return { 'memory', told[1], told[2] }
  end
  local total, first = swept()
  local before, left = redis.call('STRLEN', KEYS[1]), redis.call('PTTL', KEYS[1])
  before = left > 0 and before + EACH or 0
  if not evicts and total + size - before > most then
    return { 'total', string.format('%.0f', total), string.format('%.0f', most) }
  end
  local done = redis.pcall('SET', KEYS[1], answer, 'PX', ttl)
  if done.err then
    return { 'refused', done.err }
  end
  local ends = math.ceil((now_ms + ttl) / step) * step
  if before > 0 then
    -- Not after what it takes back: by another ttl that was rounded otherwise, and the total may be too high, not too low.
    local ended = math.floor((now_ms + left) / step) * step
    count(ended, -before)
    first = math.min(first, ended)
  end
  count(ends, size)
  redis.call('HSET', KEYS[3], 'total', total + size - before, 'next', math.min(first, ends))
  if redis.call('PTTL', KEYS[3]) < ttl + step then
    redis.call('PEXPIRE', KEYS[3], ttl + step)
  end
  return 'kept'
end

local came = kept()
run.over(KEYS[2], token, came == 'kept' and '0' or none)
return came
