-- report: what an attempt taught: rests to set, suspicions of this request to take back, and rests that a success ends.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  of each pool that has a key of an account in question
-- ARGV  now      "" or, in tests, microseconds
--       request  the request's id
--       moment   of its grant
--       rests    count, then for each: field, account, delay (microseconds), most (that a delay which nobody named may be
--                doubled to; 0: it was named), kind (0 a suspicion, 1 proved, 2 dead), reason, the pool that may be
--                throttled ("": not for this)
--       clears   count, then for each suspicion: field, account
--       ends     count, then for each rest of the key that succeeded: field, account
--       fault    field of the provider's rest that failed ("": none did), then, unless that is "": how many in a row, each
--                within so long of the one before, make it rest for how long (microseconds), and 1 if its request has told
--                one before, else 0
--       left     field of the provider's rest after which this was to find out, and came to nothing ("": none)
-- returns        three lists: for each rest how long the key rests now (microseconds; -1: its pool does, instead), for each
--                clear 1 if it was taken back, for each end 1 if a rest ended early; then how long the pool rests now, or 0,
--                field and account of each rest that its throttle takes back, and how long the provider rests from now, or 0
-- cost           3 commands, 1 a rest, 2 a suspicion taken back or a rest that ended, and 3 for each of its pools; a refusal
--                that may be the provider's throttle 5 instead of 1, but 2 while its pool rests for that; the one that
--                finds it out 4, and 2 and 3 a pool for each rest that it takes back; a fault 2; what came to nothing 2
--
-- It always writes, if only the clock: a report of nothing finds out whether this Redis takes writes.
-- Rotations are not told of a rest: each finds out when the key comes to its head, so a report costs the same for
-- one and for 256 models.
--@ use clock cooldown rotation throttle breaker accounts args
local state, wakes = KEYS[1], { unpack(KEYS, 2) }
local now, clock_text, moved = clock.read(state, args.text())
local request, moment, pool_rests = args.text(), args.number(), '0'
local rests, clears, ends, freed, written = {}, {}, {}, {}, { 'clock', clock_text }

-- A rest's field and its account: of now, and as the caller calls it.
local function subject()
  local field, told = args.text(), args.text()
  local account = accounts.called(state, told, moved)
  return accounts.rest(field, told, account), account, told
end

local function read(field)
  return cooldown.read(redis.call('HGET', state, field))
end

for i = 1, args.number() do
  local field, account = subject()
  local set, pool = { delay = args.number(), most = args.number(), request = request }, nil
  set.named, set.kind, set.reason, pool = set.most == 0, args.text(), args.text(), args.text()
  local told, paused, back = set.named and set.delay or 0, nil, {}
  if pool ~= '' then
    paused, back = throttle.seen(state, pool, account, moment, told, now, wakes)
  end
  for _, text in ipairs(back) do
    freed[#freed + 1] = text
  end
  if paused then
    rests[i], pool_rests = '-1', string.format('%.0f', paused - now)
  else
    local old = read(field)
    local text, until_then = cooldown.set(old, now, moment, set)
    written[#written + 1] = field
    written[#written + 1] = text
    rests[i] = string.format('%.0f', until_then - now)
    if pool ~= '' and (not old or old.ends <= now or throttle.set_it(state, pool, account, field, told, old.ends)) then
      throttle.remember(state, pool, account, field, told, until_then, now)
    end
  end
end
redis.call('HSET', state, unpack(written))

for i = 1, args.number() do
  local field, account, told = subject()
  local mine = cooldown.is_suspicion_of(read(field), request)
  if mine then
    redis.call('HDEL', state, field)
    rotation.wake(wakes, accounts.names(state, account, told, moved), now)
  end
  clears[i] = mine and 1 or 0
end

for i = 1, args.number() do
  local field, account, told = subject()
  local rest = read(field)
  local over = rest and (moment >= rest.since or rest.kind == cooldown.COUNTS)
  if over then
    redis.call('HDEL', state, field)
    if account ~= '' and cooldown.holds_back(rest, now) then
      rotation.wake(wakes, accounts.names(state, account, told, moved), now)
    end
  end
  ends[i] = over and rest.ends > now and 1 or 0
end

local failed, provider_rests = args.text(), '0'
if failed ~= '' then
  local set = { failures = args.number(), within = args.number(), pause = args.number() }
  set.again = args.text() == '1'
  local until_then = breaker.failed(state, failed, moment, now, set)
  provider_rests = until_then and string.format('%.0f', until_then - now) or '0'
end

local left = args.text()
local tried = left ~= '' and cooldown.read(redis.call('HGET', state, left))
if tried and cooldown.leave(tried, moment) then
  redis.call('HSET', state, left, cooldown.write(tried))
end
return { rests, clears, ends, pool_rests, freed, provider_rests }
