-- admin: what an operator does to a key, for all replicas at once: disable it, enable it, or forget what it is charged with.
--
-- KEYS  1        state      HASH
--       2        drift      HASH
--       3..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       what     "disable", "enable" or "reset"
--       key      its fingerprint
--       account  the key's
--       who      of a disable: who asks for it, else ""
--       fields   of a reset: count, then the fields to forget beside the key's drift: rests, and windows; else 0
-- returns        how many fields changed; 0: it was so already
-- cost           disable 5 commands; enable 4 and 3 a pool; reset 4, 1 for each 1,000 fields and 3 a pool
--
-- A disabled key is never granted: `room.read` finds the field, whose presence is all that counts. It is named after the
-- secret's fingerprint, so a new secret under the key's id is not disabled. Who disables it again changes nothing: since
-- when and by whom is told of the first. Rotations are not told of a disable, as of no rest: each finds out when the
-- key comes to its head, and a grant that waits for its moment when it is confirmed. A disable may be all that the state
-- holds: it begins with it, so that a Redis that is emptied before the first request is known to be another.
--@ use clock rotation args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())
local what, key, account, who, fields = args.text(), args.text(), args.text(), args.text(), args.texts()

local changed, off = 0, 'off|' .. key
if what == 'disable' then
  changed = redis.call('HSETNX', state, off, clock.text(now) .. '|' .. who)
  redis.call('HSETNX', state, 'born', clock.text(now))
elseif what == 'enable' then
  changed = redis.call('HDEL', state, off)
else
  changed = redis.call('HDEL', KEYS[2], key)
  for from = 1, #fields, rotation.CHUNK do
    changed = changed + redis.call('HDEL', state, unpack(fields, from, math.min(from + rotation.CHUNK - 1, #fields)))
  end
end
redis.call('HSET', state, 'clock', clock_text)
if what ~= 'disable' then
  rotation.wake({ unpack(KEYS, 3) }, { account }, now)
end
return changed
