-- A rest as a text: until, since and next (16 digits each), kind, streak, request, reason.
--
-- `next` is the moment from which on one more request may be granted, all else aside. Of a short rest it is its end; a
-- long one is probed by a request now and then, at growing intervals. Each grant moves it: the end of a rest is worth one
-- grant a guard, until a success clears the text. So nobody hits a key that was just refused all at once.
--
-- kind 0 is a suspicion, which the request that set it may take back; 1 is proved; 2 is dead: it ends by the success of
-- a prober's call, nobody else is granted it. `streak` counts the refusals in a row whose length nobody named: each
-- doubles the rest.
local cooldown = {
  NEVER = 9e15,
  LONG = 900e6, -- a longer rest is probed
  DEAD_PROBE = 60e6, -- until the first probe of a dead key
  MOST_PROBE = 21600e6, -- between two probes
  FORGOTTEN = 86400e6, -- after its end a text says nothing of the next refusal
}

local function write(rest)
  local moments = clock.text(rest.ends) .. '|' .. clock.text(rest.since) .. '|' .. clock.text(rest.next)
  return table.concat({ moments, rest.kind, rest.streak, rest.request, rest.reason }, '|')
end

-- {ends, since, next, kind, streak, request, reason}; nil for no text.
function cooldown.read(text)
  if not text then
    return nil
  end
  local ends, since, next_at, kind, streak, request, reason =
    string.match(text, '^(%d+)|(%d+)|(%d+)|(%d)|(%d+)|([^|]*)|(.*)$')
  return {
    ends = tonumber(ends),
    since = tonumber(since),
    next = tonumber(next_at),
    kind = kind,
    streak = tonumber(streak),
    request = request,
    reason = reason,
  }
end

-- The four rests that bear on a key's grant for a model: of the key and of its account, whole and for the model.
function cooldown.fields(key, account, model)
  local of_key, of_account = 'c|key|' .. key, 'c|account|' .. account
  return of_key, of_key .. '|' .. model, of_account, of_account .. '|' .. model
end

-- From when on a request, or a prober's call, may be granted.
function cooldown.free_at(rest, probing)
  return (rest.kind == '2' and not probing) and math.max(rest.ends, rest.next) or rest.next
end

-- The text after a grant at `moment`.
function cooldown.granted(rest, moment, guard)
  if moment >= rest.ends then
    rest.next = moment + guard
  else
    local least = rest.kind == '2' and cooldown.DEAD_PROBE or cooldown.LONG
    rest.next = math.min(rest.ends, moment + math.min(cooldown.MOST_PROBE, math.max(least, moment - rest.since)))
  end
  return write(rest)
end

-- The text when the grant of `moment` was given back: one guard less is reserved at a rest's end, or the probe is due.
-- Which of those that are reserved there is gone does not matter.
function cooldown.given_back(rest, moment, guard)
  if moment >= rest.ends then
    rest.next = math.max(rest.ends, rest.next - guard)
  else
    rest.next = math.min(rest.next, moment)
  end
  return write(rest)
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
  -- What was reserved at the end of the old rest is not moved.
  rest.next = math.max(rest.next, old and old.next or 0)
  return write(rest), rest.ends
end

-- Whether `request` may take this rest back: it set it, and nothing has proved it.
function cooldown.is_suspicion_of(rest, request)
  return rest ~= nil and rest.kind == '0' and rest.request == request
end
