-- made: whose these things are, which a provider gives to nobody but the account that made them.
--
-- KEYS  1..n     made       STRING  of each thing
-- ARGV  maker    what is kept: key, account and, as far as it says them, client and model, with `|` between
--       takes    1: also what is known to be another's; 0: that stays as it is
--       for each thing: seconds that it is kept, or 0: it is no more
-- returns        for each thing the other maker whose it stays, or false
-- cost           2 commands a thing
--@ use args
local maker, takes, others = args.text(), args.text() == '1', {}
local key, account, more = string.match(maker, '^([^|]*)|([^|]*)|?(.*)')
for i = 1, #KEYS do
  local seconds, known = args.number(), not takes and redis.call('GET', KEYS[i])
  local its_key, its_account, its_more = string.match(known or maker, '^([^|]*)|([^|]*)|?(.*)')
  others[i] = its_key ~= key and its_account ~= account and known
  if not others[i] and seconds > 0 then
    local text = more == '' and its_more ~= '' and maker .. '|' .. its_more or maker
    redis.call('SET', KEYS[i], text, 'EX', seconds)
  elseif not others[i] then
    redis.call('DEL', KEYS[i])
  end
end
return others
