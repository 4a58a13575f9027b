-- What the state says of one key for one model: the texts of its windows, of its pool's and of the client's, and how it
-- rests.
local room = { GUARD = 1e6, DAY = 86400e6 }

-- Each kind of window, made when it is met: a script is read anew with every call.
local kinds, makers = { log = window }, { calendar = make_calendar, leases = make_leases }

local REQUESTS = 1 -- the unit; the others are of tokens

-- Whose windows and rests are asked.
local WINDOWS = { own = true }
local ACCOUNT = { own = true, account = true }
local KEY = { own = true, account = true, key = true }
local CLIENT = { client = true }
local POOL = { pool = true, total = true, client = true }
local ALL = { own = true, account = true, key = true, pool = true, total = true, client = true }
local ANYBODY, PROBER = { share = 0, probing = false }, { share = 0, probing = true }

local function add_windows(of, from, account, limits)
  local prefix, count = 'w|' .. account .. '|', #limits
  for i = 1, count do
    local limit = limits[i]
    local kind = limit.kind
    kinds[kind] = kinds[kind] or makers[kind]()
    limit.keeper = kinds[kind]
    of.limits[from + i], of.fields[from + i] = limit, prefix .. limit.name
    of.leases = of.leases or kind == 'leases'
    of.tokens = of.tokens or limit.unit ~= REQUESTS
  end
  return from + count
end

-- The windows of an account, of its pool's total and of the client's; the first `own` are the account's, those up to
-- `common` are asked for every client. Nothing is read yet.
local function windows_of(account, limits, total, client)
  local of = { limits = {}, fields = {}, rests = {}, leases = false, tokens = false, own = 0, all = 0 }
  of.own = add_windows(of, 0, account, limits)
  of.common = add_windows(of, of.own, total.account, total.limits)
  of.all = add_windows(of, of.common, client.account, client.limits)
  return of
end

-- The texts of the windows, and of whatever fields follow theirs.
local function fill(state, of)
  local texts = #of.fields > 0 and redis.call('HMGET', state, unpack(of.fields)) or {}
  for i = 1, of.all do
    texts[i] = texts[i] or ''
  end
  of.texts = texts
end

-- Only the windows, for what gives back or settles.
function room.windows(state, account, limits, total, client)
  local of = windows_of(account, limits, total, client)
  fill(state, of)
  return of
end

-- One HMGET, whatever the number of limits. `target` = {model, total, client, pause, door, line}: `pause` is the field of
-- the pool's own rest, `door` that of its provider's ("": it has no breaker), `line` that of those who wait for a place
-- ("": not asked for). `counts`: whether the strategy asks for the key's grants of today.
function room.read(state, member, target, limits, counts)
  local of = windows_of(member.account, limits, target.total, target.client)
  local fields, n, line, rests = of.fields, of.all, target.line, of.rests
  fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = cooldown.fields(member.key, member.account, target.model)
  fields[n + 5], fields[n + 6], fields[n + 7] = target.pause, target.door, 'off|' .. member.key
  if counts then
    fields[n + 8] = 'granted|' .. member.key
  end
  if line ~= '' then
    fields[#fields + 1] = line
  end
  fill(state, of)
  local texts = of.texts
  for i = 1, 6 do
    if texts[n + i] then
      local rest = cooldown.read(texts[n + i])
      if rest.kind == cooldown.COUNTS then
        of.counts_faults = true
      else
        rest.field, rest.of = fields[n + i], i < 3 and 'key' or i < 5 and 'account' or 'pool'
        rest.apart = i == 6 and cooldown.finding(rest)
        rests[#rests + 1] = rest
        of.pauses = of.pauses or i > 4
      end
    end
  end
  of.off = texts[n + 7]
  of.line = line ~= '' and texts[#fields] or ''
  of.count_field, of.count_text = counts and fields[n + 8], counts and texts[n + 8]
  return of
end

-- How many grants the key was given today.
function room.count(of, now)
  local day, count = string.match(of.count_text or '', '^(%d+)|(%d+)$')
  return tonumber(day) == math.floor(now / room.DAY) and tonumber(count) or 0
end

function room.one_more(of, now)
  return string.format('%.0f|%d', math.floor(now / room.DAY), room.count(of, now) + 1)
end

-- How much room a request must find: what it counts, of tokens at least a hundredth of the maximum, and the share that it
-- leaves to others, as far as the maximum goes. Without `amounts`: what anybody must find.
--
-- The hundredth lets a key that is as good as spent rest; else each request that needs more would look at it again.
local function need(limit, amounts, share)
  local least = limit.unit == REQUESTS and 1 or math.ceil(limit.max / 100)
  local wanted = amounts and math.max(amounts[limit.unit], least) or least
  if wanted > limit.max or share == 0 then
    return wanted
  end
  return math.min(limit.max, wanted + math.ceil(limit.max * share))
end

-- The least guard of the windows up to `last` that hold a grant: how late it may be sent; nil: none holds it.
local function guard(of, last)
  local least
  for i = 1, last do
    local limit = of.limits[i]
    if limit.holds and limit.kind ~= 'leases' then
      least = math.min(least or limit.guard, limit.guard)
    end
  end
  return least
end

function room.guard(of)
  return guard(of, of.all)
end

-- How far apart a rest keeps the grants of this key once it is over, whoever asks. A pool's keeps those of all its keys,
-- whose guards differ; a provider's, until who was let through has found out.
local function apart(of, rest)
  return rest.apart or rest.of ~= 'pool' and guard(of, of.common) or room.GUARD
end

-- From `t` on, when none of these rests is in the way and these windows have room, requests in flight aside. What has room
-- now may have none later, after a midnight or where somebody reserved it: so until all have it at one moment.
local function free(of, whose, t, ask)
  local limits, texts, amounts = of.limits, of.texts, ask.amounts
  local first = whose.own and 1 or (whose.total and of.own or of.common) + 1
  local last = whose.client and of.all or of.own
  repeat
    local before = t
    for _, rest in ipairs(of.rests) do
      if whose[rest.of] then
        t = cooldown.free_at(rest, t, ask.probing, apart(of, rest))
      end
    end
    for i = first, last do
      local limit, share = limits[i], i <= of.common and ask.share or 0 -- of its own a client leaves nothing to others
      if limit.holds and limit.kind ~= 'leases' then
        local wanted = (limit.unit == REQUESTS and share == 0) and 1 or need(limit, amounts, share)
        if wanted > limit.max then
          return cooldown.NEVER
        end
        t = limit.keeper.free_at(limit, texts[i], t, wanted, share > 0)
      end
    end
  until t == before
  return t
end

-- From `t` on, when enough requests in flight have ended, unless they say that they are still: of the windows from `first`
-- to `last`.
local function place_at(of, t, share, first, last)
  if of.leases then
    for i = first, last do
      local limit = of.limits[i]
      if limit.kind == 'leases' and limit.holds then
        t = limit.keeper.free_at(limit, of.texts[i], t, need(limit, nil, share))
      end
    end
  end
  return t
end

-- Until when requests in flight are in the way as well; and that moment again where they are, else 0.
local function with_place(of, t, share)
  local at = place_at(of, t, share, 1, of.own)
  return at, at > t and at or 0
end

-- From `t` on, when the account may have room for anybody, its keys' own rests aside. Also, where that hangs on requests in
-- flight, until when they last if they do not end sooner; else 0.
function room.free_in_account(of, t, probing)
  return with_place(of, free(of, ACCOUNT, t, probing and PROBER or ANYBODY), 0)
end

-- The same of the key: from when on it may have room for anybody.
function room.free_for_any(of, now, probing)
  if of.off then
    return cooldown.NEVER, 0
  end
  return with_place(of, free(of, KEY, now, probing and PROBER or ANYBODY), 0)
end

-- The same of the windows alone, without rests.
function room.free_in_windows(of, now)
  return place_at(of, free(of, WINDOWS, now, ANYBODY), 0, 1, of.own)
end

-- Whether as many requests of the account or the client are in flight as may be, for one that leaves `share` of them to
-- others.
function room.is_busy(of, now, share)
  return place_at(of, now, share, 1, of.own) > now or room.crowded_until(of, now) > now
end

-- The same of the client alone: until when they last if they do not end sooner; else `now`.
function room.crowded_until(of, now)
  return place_at(of, now, 0, of.common + 1, of.all)
end

-- When a place among the account's requests in flight was last given back; 0: nobody knows, or they are not counted.
function room.freed_at(of, now)
  local freed = 0
  if of.leases then
    for i = 1, of.own do
      local limit = of.limits[i]
      if limit.kind == 'leases' and limit.holds then
        freed = math.max(freed, limit.keeper.freed_at(of.texts[i], now))
      end
    end
  end
  return freed
end

-- Writes that the request of a confirmed grant is in flight, where that is counted; `runs`: it is counted already.
function room.run(state, of, moment, now, clock_text, runs)
  local written = {}
  for i, limit in ipairs(of.limits) do
    if limit.kind == 'leases' then
      local counted = limit.keeper[runs and 'renew' or 'enter'](limit, of.texts[i], moment, now)
      written[#written + 1], written[#written + 2] = of.fields[i], counted
    end
  end
  if #written > 0 then
    redis.call('HSET', state, 'clock', clock_text, unpack(written))
  end
end

-- From `t` on, which is what it was for anybody, when the key has room for this ask, its pool aside; and, where that hangs
-- on requests in flight, until when they last if they do not end sooner; else 0.
function room.free_for(of, t, ask)
  if not of.tokens and ask.share == 0 then
    return t, 0
  end
  t = free(of, KEY, t, ask)
  if ask.share == 0 then
    return t, 0
  end
  return with_place(of, t, ask.share)
end

-- From `now` on, when the client has room, whatever the key.
function room.free_of_client(of, now, ask)
  return free(of, CLIENT, now, ask)
end

-- From `t` on, when the pool as a whole and the client have room, whatever the key.
function room.free_of_pool(of, t, ask)
  return free(of, POOL, t, ask)
end

-- From `t` on, which is what it was for the key, when the key, its pool as a whole and the client have room.
function room.free_in_pool(of, t, ask)
  return (of.pauses or of.all > of.own) and free(of, ALL, t, ask) or t
end

-- From `moment` on, when every window has room, with regard only to what counts up to `moment`.
function room.free_before(of, moment, amounts)
  local t = moment
  for i, limit in ipairs(of.limits) do
    if limit.holds and limit.kind ~= 'leases' then
      t = math.max(t, limit.keeper.free_before(limit, of.texts[i], moment, amounts[limit.unit]))
    end
  end
  return t
end

-- Of a grant that was taken out: whether its key is disabled, or rests and has not let it through.
function room.is_forbidden(of, now)
  for _, rest in ipairs(of.rests) do
    if rest.ends > now and not rest.let_through then
      return true
    end
  end
  return of.off
end

-- The same: whether all rests, those too that are over, have let it through.
function room.is_let_through(of)
  for _, rest in ipairs(of.rests) do
    if not rest.let_through then
      return false
    end
  end
  return true
end

-- The same: from `t` on, when the rests let it through.
function room.let_through_at(of, t)
  for _, rest in ipairs(of.rests) do
    t = cooldown.free_at(rest, t, true, apart(of, rest))
  end
  return t
end

-- A grant of `moment`, in every window and in what the rests let through.
function room.enter(of, moment, now, amounts)
  local texts = of.texts
  for i = 1, of.all do
    local limit = of.limits[i]
    local amount = amounts[limit.unit]
    if amount > 0 then
      texts[i] = limit.keeper.enter(limit, texts[i], moment, now, amount)
    end
  end
  for _, rest in ipairs(of.rests) do
    cooldown.enter(rest, moment, now, apart(of, rest))
  end
end

-- Takes the grant of `moment` out of every window and rest that still holds it; returns how many did. Only one that runs
-- is in flight: another may be, of the same moment.
function room.leave(of, moment, now, amounts, runs)
  local held = 0
  for i, limit in ipairs(of.limits) do
    if runs or limit.kind ~= 'leases' then
      local text, found = limit.keeper.leave(limit, of.texts[i], moment, now, amounts[limit.unit])
      of.texts[i] = text
      held = held + (found and 1 or 0)
    end
  end
  for _, rest in ipairs(of.rests) do
    local found = cooldown.leave(rest, moment)
    rest.let_through = found and rest.since < moment -- what was granted before it began it only keeps apart
    held = held + (found and 1 or 0)
  end
  return held
end

-- The request of `moment` is over: it counts what it came to instead of what was expected, and is in flight no more. The
-- client's windows count what it is charged.
function room.settle(of, moment, now, expected, actual, charged)
  for i, limit in ipairs(of.limits) do
    local cost = i > of.common and charged or actual
    local kind, before, after = limit.keeper, expected[limit.unit], cost[limit.unit]
    if limit.kind == 'leases' then
      of.texts[i] = kind.leave(limit, of.texts[i], moment, now)
    elseif before ~= after then
      local text, found = kind.leave(limit, of.texts[i], moment, now, before)
      of.texts[i] = (found or before == 0) and after > 0 and kind.enter(limit, text, moment, now, after) or text
    end
  end
end

-- What the request of a grant may find out: 0 nothing, 1 that a rest is over and done with or that its provider does not
-- always fail, 2 that a rest may end early.
function room.finds(of, moment)
  local finds = of.counts_faults and 1 or 0
  for _, rest in ipairs(of.rests) do
    finds = math.max(finds, rest.ends > moment and 2 or 1)
  end
  return finds
end

-- One HSET: the windows, the rests, what else is given, and the clock that they were written by.
function room.write(state, of, clock_text, more)
  local args = more or {}
  local n = #args
  for i = 1, of.all do
    args[n + 1], args[n + 2] = of.fields[i], of.texts[i]
    n = n + 2
  end
  for _, rest in ipairs(of.rests) do
    args[n + 1], args[n + 2] = rest.field, cooldown.write(rest)
    n = n + 2
  end
  redis.call('HSET', state, 'clock', clock_text, unpack(args))
end
