-- drift: count that a provider refused a grant although our budgets had room, once for each rest that follows.
--
-- KEYS  1        state      HASH  for its clock
--       2        drift      HASH
-- ARGV  now      "" or, in tests, microseconds
--       key      the key's fingerprint
--       moment   the refused grant's
--       told     what was said, kept as it is
-- returns        how many drifts the key has had, none of them followed by 30 days without; 0 where nothing was counted
-- cost           5 commands; once a day 2 more and 1 for each key whose last drift is 30 days old
--
-- Requests that were under way together are refused together. The first report is the drift; a grant that is no
-- younger than the last drift belongs to that one. So the count is the same however many replicas sent them.
-- A key is forgotten 30 days after its last drift, which is longer than anybody needs to see it.
--@ use clock args
local state, drift = KEYS[1], KEYS[2]
local DAY = 86400 * 1000000
local KEEP = 30 * DAY
local now = clock.read(state, args.text())
local key, moment, told = args.text(), args.number(), args.text()

local function at(text)
  return tonumber(string.sub(text, 1, 16))
end

local found = redis.call('HMGET', drift, key, 'swept')
local text, swept = found[1], found[2]
local last = text and at(text) or 0
if last >= moment then
  return 0
end
local count = 1
if last > now - KEEP then
  count = tonumber(string.sub(text, 17, 32)) + 1
end
redis.call('HSET', drift, key, clock.text(now) .. clock.text(count) .. told)
redis.call('EXPIRE', drift, KEEP / 1000000)

if not swept or tonumber(swept) <= now - DAY then
  local all = redis.call('HGETALL', drift)
  for i = 1, #all, 2 do
    if all[i] ~= 'swept' and at(all[i + 1]) <= now - KEEP then
      redis.call('HDEL', drift, all[i])
    end
  end
  redis.call('HSET', drift, 'swept', clock.text(now))
end
return count
