-- restore: disable again what operators had disabled before Redis was emptied; nothing where it was not.
--
-- KEYS  1        state      HASH
-- ARGV  now      "" or, in tests, microseconds
--       born     when the state began in which the caller saw what follows
--       off      count of texts, then two for each disabled key: the state's field that says so, and what it said
-- returns        how many keys are disabled again
-- cost           1 command; of a state that is another 4 more and 1 a key
--
-- A replica that finds no rotation calls it before it registers one, and without a rotation nobody is granted a key: so
-- one that is disabled is not granted in between. Where another's word is there already it stays.
--@ use clock args
local state = KEYS[1]
local given, born, off = args.text(), args.text(), args.texts()
if redis.call('HGET', state, 'born') == born then
  return 0
end

local now, clock_text = clock.read(state, given)
local changed = 0
for i = 1, #off, 2 do
  changed = changed + redis.call('HSETNX', state, off[i], off[i + 1])
end
redis.call('HSETNX', state, 'born', clock.text(now))
redis.call('HSET', state, 'clock', clock_text)
return changed
