-- The circuit breaker of a provider, for each model, over all replicas: after the faults of so many requests in a row, each
-- soon after the one before and no success between, nobody asks it; from `pause` on, doubling to MOST, and after each pause
-- one request finds out whether it works again.
--
-- Requests are counted, and not their attempts: else one that no provider can serve would shut it for all by its own retries.
-- A success ends the run whenever its request was granted: it works now, and who answers slowly says so late.
--
-- The field `c|provider|DOOR|MODEL` counts (kind COUNTS, `streak`, `ends` the latest fault), and from then on is the rest.
-- An acquire reads it either way, so whoever is granted while faults are counted knows that a success is to be told, and
-- replicas that meet none of them need not be asked.
local breaker = { MOST = 60e6 }

local function counted(old, now)
  local rest = { ends = now, since = old and old.since or now, next = now, kind = cooldown.COUNTS, grants = '' }
  rest.streak, rest.request, rest.reason = (old and old.streak or 0) + 1, '', 'overloaded'
  return rest
end

-- A fault met by a request granted at `moment`. `set` is {failures, within, pause, again}. Returns until when nobody asks
-- the provider, or nil: it goes on, or its rest was known before. Faults of what was sent before it rested say nothing new,
-- nor does another one of a request (`again`) before it rests.
function breaker.failed(state, field, moment, now, set)
  local old = cooldown.read(redis.call('HGET', state, field))
  local counts = not old or old.kind == cooldown.COUNTS
  if counts and set.again or not counts and moment < old.since then
    return nil
  end
  if counts then
    local rest = counted(old and old.ends + set.within > now and old or nil, now)
    if rest.streak < set.failures then
      redis.call('HSET', state, field, cooldown.write(rest))
      return nil
    end
    old = nil
  else
    old.grants = '' -- who was let through has found out
  end
  local new = { delay = set.pause, most = breaker.MOST, kind = '1', request = '', reason = 'overloaded' }
  local text, ends = cooldown.set(old, now, moment, new)
  redis.call('HSET', state, field, text)
  return ends
end
