-- register: make a rotation from the pool's members that may serve a model. Registering twice changes nothing.
--
-- KEYS  1        state      HASH
--       2,3,4    rotation, its hash, its pool's wake set
--       5        models     SET   the models of this pool that have a rotation of their own
-- ARGV  now      "" or, in tests, microseconds
--       model    the rotation's model; "*" is the rotation that all further models share
--       strategy by which it turns
--       most     how many models may have a rotation of their own
--       members  count, then each, as parts/rotation.lua reads them
-- returns        {"own" or "shared", born}: shared: ask for "*" instead. `born` is when this state began: a replica that
--                sees it change knows that Redis was emptied
-- cost           in proportion to the members and to the fields of the state; once a model, not in the steady state
--@ use clock cooldown args
--@ use orders order_round_robin order_weighted order_least_used order_priority order_fill_first rotation
local state = KEYS[1]
local names = { state = state, set = KEYS[2], hash = KEYS[3], wake = KEYS[4] }
local now, clock_text = clock.read(state, args.text())
local model, strategy, most, members = args.text(), orders[args.text()](), args.number(), args.texts()

-- Forgets rests that ended long ago: nothing else would ever remove those of keys that are gone.
local function tidy()
  local ended = {}
  for _, field in ipairs(redis.call('HKEYS', state)) do
    local rest = string.sub(field, 1, 2) == 'c|' and cooldown.read(redis.call('HGET', state, field))
    if rest and cooldown.is_done(rest, now) then
      ended[#ended + 1] = field
    end
  end
  for from = 1, #ended, rotation.CHUNK do
    redis.call('HDEL', state, unpack(ended, from, math.min(from + rotation.CHUNK - 1, #ended)))
  end
end

-- A value of more than 64 bytes makes Redis keep the hash as a table from the start: a small one is a list, which
-- every HMGET would search from its beginning (48 microseconds an acquire instead of 30 to 38).
redis.call(
  'HSETNX', state, 'about',
  'sidecar: budgets (w|account|limit), rests (c|key or account|name|model), the clock and when all this began'
)
redis.call('HSETNX', state, 'born', clock.text(now))
redis.call('HSET', state, 'clock', clock_text)
local born = redis.call('HGET', state, 'born')

if model ~= '*' and redis.call('SISMEMBER', KEYS[5], model) == 0 then
  if redis.call('SCARD', KEYS[5]) >= most then
    return { 'shared', born }
  end
  redis.call('SADD', KEYS[5], model)
end
redis.call('EXPIRE', KEYS[5], rotation.STATE_KEEP_S)

local turn = rotation.open(names, strategy)
if turn and redis.call('EXISTS', names.set) == 1 then
  return { 'own', born }
end
tidy()
rotation.begin(names, strategy, members, turn and turn.seq or 0, turn and turn.last or '0', now)
return { 'own', born }
