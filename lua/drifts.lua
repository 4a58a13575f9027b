-- drifts: the last drift of each key; changes nothing.
--
-- KEYS  1        state      HASH  for its clock
--       2        drift      HASH
-- ARGV  now      "" or, in tests, microseconds
-- returns        {now, the fields and values of `drift` one after the other}
-- cost           3 commands, the last as long as there are keys that drifted within 30 days
--@ use clock args
local now = clock.read(KEYS[1], args.text())
return { clock.text(now), redis.call('HGETALL', KEYS[2]) }
