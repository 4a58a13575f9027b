-- usage: what was counted on a day, or in all time? Reads, and changes nothing.
--
-- KEYS  1        usage      HASH  as count.lua writes it
-- ARGV  now      "" or, in tests, microseconds
-- returns        {the day it is, by Redis's clock: days since 1970, then a field and its text for each row}
-- cost           2 commands, in proportion to the rows
--@ use args
local now = args.text()
now = now ~= '' and now / 1000000 or tonumber(redis.call('TIME')[1])
return { string.format('%.0f', math.floor(now / 86400)), redis.call('HGETALL', KEYS[1]) }
