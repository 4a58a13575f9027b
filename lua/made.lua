-- made: whose these things are, which a provider gives to nobody but the account that made them.
--
-- KEYS  1..n     made       STRING  of each thing
-- ARGV  maker    what is kept
--       for each thing: seconds that it is kept, or 0: it is no more
-- returns        nothing
-- cost           1 command a thing
--@ use args
local maker = args.text()
for i = 1, #KEYS do
  local seconds = args.number()
  if seconds > 0 then
    redis.call('SET', KEYS[i], maker, 'EX', seconds)
  else
    redis.call('DEL', KEYS[i])
  end
end
