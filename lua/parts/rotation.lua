-- A rotation: one sorted set of members, and a hash with `seq` (the next grant's number), `last` (the highest place
-- granted so far, as the strategy writes it), `woken` (how far it has read the pool's wake set), `kept` (when its expiry
-- was last renewed), `size` (how many members it has: a sorted set of none does not exist), `busy` (until
-- when requests in flight are in the way of a parked member, if they do not end sooner), `waits` (how many such
-- members there are, each with a field `b|member`), `day` (the one whose grants the places count), `latest` (the order of the
-- member that was granted last), for each account
-- (`a|account`) its members, a line each; and, where any has several (`shared`), the order of the member of each that was
-- granted last (`l|account`).
--
-- A score below PARKED is a member's place, from there on the moment at which it may have room. So the head is always
-- the answer: a key to try, or when to come back. One sorted set, not a cursor over the ids: a scan pays for every
-- spent key, this for those that it moves.
--
-- An acquire passes over at most MOST_PASSED members that have some room but not enough for it: a thousand keys whose
-- tokens are almost spent would else be looked at by every request that needs more.
local rotation = { PARKED = 1e14, KEEP_S = 30 * 86400, STATE_KEEP_S = 400 * 86400, CHUNK = 1000, MOST_PASSED = 64 }

local LOWEST_MOMENT = '1e14' -- rotation.PARKED as Redis reads it: to write a number costs half a command

-- A member as `register` was given it: order|weight|priority|id|key|account|limits. Its numbers are texts still.
function rotation.read_member(text)
  local order, weight, priority, id, key, account, limits =
    string.match(text, '^(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|([^|]*)|(%d+)$')
  return {
    text = text,
    order = order,
    weight = weight,
    priority = priority,
    id = id,
    key = key,
    account = account,
    limits = limits,
  }
end

-- The rotation in `names` = {set, hash, wake}; nil where it was never registered, expired or was flushed.
function rotation.open(names, strategy)
  local meta = redis.call('HMGET', names.hash, 'seq', 'last', 'woken', 'kept', 'busy', 'waits', 'day', 'shared', 'latest')
  if not meta[1] then
    return nil
  end
  return {
    names = names,
    strategy = strategy,
    seq = meta[1],
    last = meta[2],
    woken = meta[3],
    kept = tonumber(meta[4]),
    busy = tonumber(meta[5] or 0),
    waits = tonumber(meta[6] or 0),
    day = tonumber(meta[7] or 0),
    shared = meta[8] == '1',
    latest = meta[9] or '',
  }
end

-- Whether its set is there: one of no members never is.
function rotation.exists(turn)
  local names = turn.names
  return redis.call('EXISTS', names.set) == 1 or redis.call('HGET', names.hash, 'size') == '0'
end

function rotation.put(turn, member, value)
  redis.call('ZADD', turn.names.set, value, member)
end

-- Requests in flight are in the way of these members, by their texts, until `busy` at the latest.
local function wait_for_places(turn, members, busy)
  for from = 1, #members, rotation.CHUNK do
    local fields = {}
    for i = from, math.min(from + rotation.CHUNK - 1, #members) do
      fields[#fields + 1], fields[#fields + 2] = 'b|' .. members[i], busy
    end
    turn.waits = turn.waits + redis.call('HSET', turn.names.hash, unpack(fields))
  end
  turn.busy = math.max(turn.busy, busy)
  redis.call('HSET', turn.names.hash, 'busy', turn.busy, 'waits', turn.waits)
end

-- Until `moment` the member has no room. `busy`: until when that hangs on requests in flight; 0: it does not.
function rotation.park(turn, member, moment, busy, now)
  rotation.put(turn, member.text, moment)
  if busy > now then
    wait_for_places(turn, { member.text }, busy)
  elseif turn.waits > 0 then
    rotation.not_busy(turn, { member.text })
  end
end

-- These members, by their texts, are looked at anew, or wait for something else.
function rotation.not_busy(turn, members)
  for from = 1, #members, rotation.CHUNK do
    local fields = {}
    for i = from, math.min(from + rotation.CHUNK - 1, #members) do
      fields[#fields + 1] = 'b|' .. members[i]
    end
    turn.waits = turn.waits - redis.call('HDEL', turn.names.hash, unpack(fields))
  end
  redis.call('HSET', turn.names.hash, 'waits', turn.waits)
end

-- Whether a request in flight that ends may give a key room.
function rotation.is_busy(turn, now)
  return turn.waits > 0 and turn.busy > now
end

-- `value` is a score, or a function that tells each member's.
local function put_all(set, members, value, ...)
  for from = 1, #members, rotation.CHUNK do
    local args = { ... }
    for i = from, math.min(from + rotation.CHUNK - 1, #members) do
      args[#args + 1] = type(value) == 'function' and value(members[i]) or value
      args[#args + 1] = members[i]
    end
    redis.call('ZADD', set, unpack(args))
  end
end

-- What the rotation's hash says of each of these accounts in its field of this prefix, in their order; false: nothing.
local function told_of(turn, prefix, accounts)
  local told = {}
  for from = 1, #accounts, rotation.CHUNK do
    local fields = {}
    for i = from, math.min(from + rotation.CHUNK - 1, #accounts) do
      fields[#fields + 1] = prefix .. accounts[i]
    end
    for _, value in ipairs(redis.call('HMGET', turn.names.hash, unpack(fields))) do
      told[#told + 1] = value
    end
  end
  return told
end

-- Of keys of an account that come together, those up to the one granted last come a turn later, by their texts; none
-- where it was the last of them. Else a key at a time would have room, and always the same one would be granted.
local function served(turn, members)
  local of_account, accounts, later = {}, {}, {}
  for _, text in ipairs(turn.shared and turn.strategy.after and members or {}) do
    local member = rotation.read_member(text)
    local siblings = of_account[member.account] or {}
    siblings[#siblings + 1], of_account[member.account] = member, siblings
    siblings.last = math.max(siblings.last or 0, tonumber(member.order))
    if #siblings == 2 then
      accounts[#accounts + 1] = member.account
    end
  end
  for i, latest in ipairs(told_of(turn, 'l|', accounts)) do
    local siblings = of_account[accounts[i]]
    for _, member in ipairs(siblings) do
      later[member.text] = latest and member.order <= latest and tonumber(latest) < siblings.last
    end
  end
  return later
end

-- A function that tells the place of each of these members, by its text and as it was read, when they come together.
local function places_of(turn, members)
  local later = served(turn, members)
  return function(text, member)
    local place = turn.strategy.due(turn, member)
    return later[text] and turn.strategy.after(member, place) or place
  end
end

local function put_due(turn, members)
  local place_of = places_of(turn, members)
  put_all(turn.names.set, members, function(text)
    return place_of(text, rotation.read_member(text))
  end)
end

-- The same where a place is how many grants a key was given today.
local function counts_of(turn, members, now)
  local fields, counts = {}, {}
  for i, text in ipairs(members) do
    fields[i] = 'granted|' .. rotation.read_member(text).key
  end
  for i, text in ipairs(redis.call('HMGET', turn.names.state, unpack(fields))) do
    counts[members[i]] = room.count({ count_text = text or '' }, now)
  end
  return function(text)
    return counts[text]
  end
end

-- The members that may have room at this moment, as {member, place}, by whose turn it is: whoever follows the one granted
-- last comes first of one place.
function rotation.coming(turn, moment, now)
  local texts = redis.call('ZRANGEBYSCORE', turn.names.set, moment, moment, 'LIMIT', 0, rotation.MOST_PASSED)
  local place_of, list = turn.strategy.counts and counts_of(turn, texts, now) or places_of(turn, texts), {}
  for i, text in ipairs(texts) do
    local member = rotation.read_member(text)
    list[i] = { member, place_of(text, member), member.order <= turn.latest }
  end
  table.sort(list, function(one, other)
    if one[2] ~= other[2] then
      return one[2] < other[2]
    elseif one[3] ~= other[3] then
      return other[3]
    end
    return one[1].order < other[1].order
  end)
  return list
end

-- Begins a rotation, or begins it again: then numbers and places go on where they were.
function rotation.begin(names, strategy, members, seq, last, now)
  local woken = tonumber(redis.call('ZREVRANGE', names.wake, 0, 0, 'WITHSCORES')[2]) or 0
  redis.call('DEL', names.set)
  put_due({ names = names, strategy = strategy, last = last }, members)
  local of_account, shared = {}, '0'
  for _, text in ipairs(members) do
    local account = rotation.read_member(text).account
    shared = of_account[account] and '1' or shared
    of_account[account] = (of_account[account] and of_account[account] .. '\n' or '') .. text
  end
  for account, texts in pairs(of_account) do
    redis.call('HSET', names.hash, 'a|' .. account, texts)
  end
  redis.call('HSET', names.hash, 'seq', seq, 'last', last, 'woken', woken, 'size', #members, 'shared', shared)
  rotation.keep(names, now)
end

local function members_of(turn, accounts)
  local members = {}
  for _, texts in ipairs(told_of(turn, 'a|', accounts)) do
    for text in string.gmatch(texts or '', '[^\n]+') do
      members[#members + 1] = text
    end
  end
  return members
end

-- Until `moment` no member of the account has room. Those that are parked for longer stay so, and those whose id `stays`.
-- `busy`: as for park.
function rotation.park_account(turn, account, moment, busy, now, stays)
  local members = {}
  local texts = members_of(turn, { account })
  for from = 1, #texts, rotation.CHUNK do
    local last = math.min(from + rotation.CHUNK - 1, #texts)
    for i, score in ipairs(redis.call('ZMSCORE', turn.names.set, unpack(texts, from, last))) do
      local text = texts[from + i - 1]
      if score and tonumber(score) < moment and not stays(rotation.read_member(text).id) then
        members[#members + 1] = text
      end
    end
  end
  put_all(turn.names.set, members, moment)
  if busy > now then
    wait_for_places(turn, members, busy)
  elseif turn.waits > 0 then
    rotation.not_busy(turn, members)
  end
end

-- Brings the members of woken accounts forward to now: only those that are parked, for a place is below any moment.
local function bring_forward(turn, accounts, now)
  local members = members_of(turn, accounts)
  put_all(turn.names.set, members, now, 'XX', 'LT')
  if turn.waits > 0 and #members > 0 then
    rotation.not_busy(turn, members)
  end
end

-- Members that were made available earlier come now, and those whose moment has come get their place.
function rotation.ready(turn, now)
  local set = turn.names.set
  local woken = redis.call('ZRANGEBYSCORE', turn.names.wake, '(' .. turn.woken, '+inf', 'WITHSCORES')
  if #woken > 0 then
    local accounts = {}
    for i = 1, #woken, 2 do
      accounts[#accounts + 1] = woken[i]
    end
    bring_forward(turn, accounts, now)
    redis.call('HSET', turn.names.hash, 'woken', woken[#woken])
  end
  if turn.strategy.counts and turn.day ~= math.floor(now / 86400e6) then
    turn.day = math.floor(now / 86400e6)
    put_due(turn, redis.call('ZRANGEBYSCORE', set, 0, '(' .. LOWEST_MOMENT))
    redis.call('HSET', turn.names.hash, 'day', turn.day)
  end
  local due = redis.call('ZRANGEBYSCORE', set, LOWEST_MOMENT, clock.text(now))
  if #due > 0 then
    put_due(turn, due)
    if turn.waits > 0 then
      rotation.not_busy(turn, due)
    end
  end
end

-- Text and score of the member at this position from the head; nil behind the last one.
function rotation.at(turn, position)
  local found = redis.call('ZRANGE', turn.names.set, position, position, 'WITHSCORES')
  return found[1], tonumber(found[2])
end

-- Numbers a grant at `place` and gives the member its next score. Returns the grant's number.
function rotation.granted(turn, member, place, free, busy, now)
  local following = turn.strategy.granted(turn, member, place)
  if free > now then
    rotation.park(turn, member, free, busy, now)
  else
    rotation.put(turn, member.text, following)
  end
  local number = turn.seq
  if now - turn.kept > 86400 * 1000000 then
    rotation.keep(turn.names, now)
  end
  local latest = turn.shared and { 'l|' .. member.account, member.order } or {}
  redis.call('HSET', turn.names.hash, 'seq', number + 1, 'last', turn.last, 'latest', member.order, unpack(latest))
  return number
end

-- A rotation is kept for KEEP_S after a grant, give or take the day between renewals.
function rotation.keep(names, now)
  redis.call('HSET', names.hash, 'kept', now)
  redis.call('EXPIRE', names.hash, rotation.KEEP_S + 86400)
  redis.call('EXPIRE', names.set, rotation.KEEP_S + 86400)
  redis.call('EXPIRE', names.state, rotation.STATE_KEEP_S)
end

-- Tells every rotation of the pools with these wake sets that an account may have room earlier than its keys were
-- parked for. It names the account, not members: those differ between replicas whose configs do. Scores are moments,
-- each above the last, so that no rotation misses one or reads one twice, also after the set expired. `names`: all that
-- the account may have (parts/accounts.lua).
function rotation.wake(wakes, names, now)
  for _, wake in ipairs(wakes) do
    local top = redis.call('ZREVRANGE', wake, 0, 0, 'WITHSCORES')
    local at = math.max(now, (tonumber(top[2]) or 0) + 1)
    for i, name in ipairs(names) do
      redis.call('ZADD', wake, at + i - 1, name)
    end
    redis.call('EXPIRE', wake, rotation.STATE_KEEP_S)
  end
end
