-- cache_renew: the request that runs for all that ask the same is still under way.
--
-- KEYS  1        run        STRING  as in cache_look
-- ARGV  token    of the request
--       hold     milliseconds that a run counts without a sign of life
-- returns        1; 0: another runs by now, or none
-- cost           2 commands
--@ use args
local token, hold = args.text(), args.text()
if redis.call('GET', KEYS[1]) ~= token then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], hold)
