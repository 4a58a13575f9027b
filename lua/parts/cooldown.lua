-- A rest as a text: until, since and next (16 digits each), kind, streak, grants, request, reason.
--
-- `next` is the moment from which on a request may be granted, all else aside. Of a short rest it is its end; a long one
-- is probed by a request now and then, at growing intervals, and each such grant moves it. `grants` are the moments of
-- what it let through, ascending, 16 digits each: once it is over they are a guard apart, until a success clears the
-- text. So nobody hits a key that was just refused all at once, and who goes away leaves a moment to others.
--
-- kind 0 is a suspicion, which the request that set it may take back; 1 is proved; 2 is dead: it ends by the success of
-- a prober's call, nobody else is granted it; 3 is no rest yet, but counts faults (parts/breaker.lua). `streak` counts
-- the refusals in a row whose length nobody named: each doubles the rest.
local cooldown = {
  NEVER = 9e15,
  LONG = 900e6, -- a longer rest is probed
  DEAD_PROBE = 60e6, -- until the first probe of a dead key
  MOST_PROBE = 21600e6, -- between two probes
  COUNTS = '3', -- the kind that does not rest
  LEAST_FINDING = 5e6, -- see `finding`
  MOST_FINDING = 30e6,
  FORGOTTEN = 86400e6, -- after its end a text says nothing of the next refusal
}

local MOMENT = string.rep('%d', 16)

function cooldown.write(rest)
  local moments = clock.text(rest.ends) .. '|' .. clock.text(rest.since) .. '|' .. clock.text(rest.next)
  return table.concat({ moments, rest.kind, rest.streak, rest.grants, rest.request, rest.reason }, '|')
end

-- {ends, since, next, kind, streak, grants, request, reason}; nil for no text.
function cooldown.read(text)
  if not text then
    return nil
  end
  local ends, since, next_at, kind, streak, grants, request, reason =
    string.match(text, '^(%d+)|(%d+)|(%d+)|(%d)|(%d+)|(%d*)|([^|]*)|(.*)$')
  return {
    ends = tonumber(ends),
    since = tonumber(since),
    next = tonumber(next_at),
    kind = kind,
    streak = tonumber(streak),
    grants = grants,
    request = request,
    reason = reason,
  }
end

-- The four rests that bear on a key's grant for a model: of the key and of its account, whole and for the model.
function cooldown.fields(key, account, model)
  local of_key, of_account = 'c|key|' .. key, 'c|account|' .. account
  return of_key, of_key .. '|' .. model, of_account, of_account .. '|' .. model
end

-- From `t` on, when a request, or a prober's call, may be granted.
function cooldown.free_at(rest, t, probing, guard)
  if rest.kind == '2' and not probing then
    return rest.ends
  end
  t = math.max(t, rest.next)
  for text in string.gmatch(t < rest.ends and '' or rest.grants, MOMENT) do
    local at = tonumber(text)
    if at - guard >= t then
      break
    end
    t = math.max(t, at + guard)
  end
  return t
end

-- The texts of the moments that `keeps` says to keep.
local function kept(grants, keeps)
  local list = {}
  for text in string.gmatch(grants, MOMENT) do
    if keeps(tonumber(text)) then
      list[#list + 1] = text
    end
  end
  return list
end

-- A grant at `moment`; those that bear on no other any more go. A probe may be given back for as long as LONG.
function cooldown.enter(rest, moment, now, guard)
  if moment < rest.ends then
    local least = rest.kind == '2' and cooldown.DEAD_PROBE or cooldown.LONG
    rest.next = math.min(rest.ends, moment + math.min(cooldown.MOST_PROBE, math.max(least, moment - rest.since)))
  end
  local moments = kept(rest.grants, function(at)
    return at + (at < rest.ends and cooldown.LONG or guard) > now
  end)
  moments[#moments + 1] = clock.text(moment)
  table.sort(moments)
  rest.grants = table.concat(moments)
end

-- The grant of `moment` was given back: others may have its moment, of a probe too. Whether it was one of this rest's.
function cooldown.leave(rest, moment)
  local found = false
  rest.grants = table.concat(kept(rest.grants, function(at)
    local is_it = at == moment and not found
    found = found or is_it
    return not is_it
  end))
  if found and rest.since < moment and moment < rest.ends then
    rest.next = math.min(rest.next, moment)
  end
  return found
end

-- How long who finds out whether a provider works again is waited for, before another may: as long as it paused. Whoever it
-- is may be gone, and nobody knows. One that only takes longer is no harm: then two find out.
function cooldown.finding(rest)
  return math.min(cooldown.MOST_FINDING, math.max(cooldown.LEAST_FINDING, rest.ends - rest.since))
end

-- Whether the success of a request makes room: the rest lasts, or keeps grants apart.
function cooldown.holds_back(rest, now)
  return rest.ends > now or rest.grants ~= ''
end

-- Whether the text may go: it says nothing of the next refusal, and keeps no grants apart.
function cooldown.is_done(rest, now)
  return math.max(rest.ends, tonumber(string.sub(rest.grants, -16)) or 0) + cooldown.FORGOTTEN <= now
end

local function first_probe(rest, now)
  if rest.kind == '2' then
    return now + cooldown.DEAD_PROBE
  end
  return rest.ends - now > cooldown.LONG and now + cooldown.LONG or rest.ends
end

-- The text after a refusal of a request granted at `moment`. `set` is {delay, most, kind, named, request, reason}.
-- A rest only ever moves later, and what was proved stays so while it lasts: otherwise taking back a longer suspicion
-- would end a rest that the provider named. Requests that were on their way when the rest began do not double it.
function cooldown.set(old, now, moment, set)
  if old and old.ends + cooldown.FORGOTTEN <= now then
    old = nil
  end
  local streak = old and old.streak or 0
  local delay = set.delay
  if not set.named then
    if not old or moment >= old.since then
      streak = streak + 1
    end
    delay = math.min(math.max(set.most, delay), delay * 2 ^ math.min(60, math.max(0, streak - 1)))
  end
  local ends = set.kind == '2' and cooldown.NEVER or now + delay
  local rest = { ends = ends, since = now, kind = set.kind, streak = streak, request = set.request, reason = set.reason }
  rest.next = first_probe(rest, now)
  if old and old.ends > now then
    rest.since, rest.kind = old.since, math.max(tonumber(old.kind), tonumber(set.kind)) .. ''
    if old.ends >= ends then
      rest.ends, rest.request, rest.reason = old.ends, old.request, old.reason
    end
  end
  -- What was granted goes on to keep others apart; what is still to come before the end nobody may send any more.
  rest.next = math.max(rest.next, old and old.next or 0)
  rest.grants = table.concat(kept(old and old.grants or '', function(at)
    return at <= now or at >= rest.ends
  end))
  return cooldown.write(rest), rest.ends
end

-- Whether `request` may take this rest back: it set it, and nothing has proved it.
function cooldown.is_suspicion_of(rest, request)
  return rest ~= nil and rest.kind == '0' and rest.request == request
end
