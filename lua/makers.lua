-- makers: whose are these things?
--
-- KEYS  1..n     made       STRING  of each thing
-- ARGV  for each thing: seconds that it is kept from now on, or 0: as long as it was to be
-- returns        for each the maker as `made` was told it, or false: nobody knows
-- cost           1 command, and 1 more for each that is known and kept longer for it
--@ use args
local makers = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  local seconds = args.number()
  if seconds > 0 and makers[i] then
    redis.call('EXPIRE', KEYS[i], seconds)
  end
end
return makers
