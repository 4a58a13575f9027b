-- cache_renew: the request that runs for all that ask the same is still under way, or only waits for room.
--
-- KEYS  1        run        STRING  as in cache_look
-- ARGV  token    of the request
--       hold     milliseconds that a run counts without a sign of life
--       state    `sent` or `waits`
-- returns        1; 0: another runs by now, or none
-- cost           2 commands
--@ use args run
local token, hold, state = args.text(), args.text(), args.text()
local known, text = redis.call('GET', KEYS[1]), run.text(state, token)
if not run.is(known, token) then
  return 0
end
-- Where Redis takes no writes the run still lasts, and is what it was.
if known == text or redis.pcall('SET', KEYS[1], text, 'PX', hold).err then
  redis.call('PEXPIRE', KEYS[1], hold)
end
return 1
