-- report: what an attempt taught: rests to set, and suspicions of this request to take back.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  of each pool that has a key of an account in `clears`
-- ARGV  now      "" or, in tests, microseconds
--       request  the request's id
--       rests    count, then for each: field, delay (microseconds), proved (1 or 0), reason
--       clears   count, then for each suspicion: field, account
-- returns        for each rest how long the key rests now (microseconds), then for each clear 1 if it was taken back, else 0
-- cost           3 commands, 1 a rest, 2 a suspicion taken back and 3 for each of its pools
--
-- It always writes, if only the clock: a report of nothing finds out whether this Redis takes writes.
-- Rotations are not told of a rest: each finds out when the key comes to its head, so a report costs the same for
-- one and for 256 models.
--@ use clock cooldown order_round_robin rotation args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())
local request, answer, written = args.text(), {}, { 'clock', clock_text }

for _ = 1, args.number() do
  local field, delay, proved, reason = args.text(), args.number(), args.text(), args.text()
  local text = cooldown.set(redis.call('HGET', state, field), now, delay, proved, request, reason)
  written[#written + 1] = field
  written[#written + 1] = text
  answer[#answer + 1] = string.format('%.0f', cooldown.until_of(text) - now)
end
redis.call('HSET', state, unpack(written))

for _ = 1, args.number() do
  local field, account = args.text(), args.text()
  local text = redis.call('HGET', state, field)
  local mine = text and cooldown.is_suspicion_of(text, request)
  if mine then
    redis.call('HDEL', state, field)
    rotation.wake({ unpack(KEYS, 2) }, account, now)
  end
  answer[#answer + 1] = mine and '1' or '0'
end
return answer
