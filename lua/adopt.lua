-- adopt: what is known of an account goes to the account that a changed config gives its keys.
--
-- KEYS  1        state      HASH
-- ARGV  now      "" or, in tests, microseconds
--       moves    count of texts, then three for each move: the old account, the new one, and 1 where no key has the old one
--                any more, else 0
-- returns        how many windows and rests of old accounts there were
-- cost           5 commands, one of which reads the names of all fields of the state; for each field of an old account 2,
--                and 2 for each account that it goes to; 1 for each name that stands for another from now on, and 2 for each
--                that did: once a reload
--
-- Of an old account that nobody has any more all counts are added to those of the new one, for the provider counts the
-- keys that join together, and the old one is forgotten: whoever reloads next has nothing to add but what was counted
-- since. Its name stands for the new one then (parts/accounts.lua), for replicas that have not reloaded yet, and for
-- requests in flight; not where its keys went to several. One that other keys still have stays, and the new one gets as
-- much of each moment as either had: so it may be done any number of times. Of two rests the one that ends later stays. A
-- key's own rests are named after its secret. Nobody is woken, for no key has more room than before.
--@ use clock cooldown accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local moves, texts = {}, args.texts()
for i = 1, #texts, 3 do
  local old = moves[texts[i]] or { gone = texts[i + 2] == '1', to = {} }
  old.to[#old.to + 1], moves[texts[i]] = texts[i + 1], old
end

-- A field's name around its account: `w|` and `|requests/60000000/`.
local function around(field)
  local before, account, behind = string.match(field, '^(w|)([^|]*)(|.*)$')
  if before then
    return before, account, behind
  end
  return string.match(field, '^(c|account|)([^|]*)(.*)$')
end

-- How the window of a limit of this name is kept, see parts/window_*.lua: where its first pair is, and whether the pair
-- itself is what is counted.
local function kind_of(behind)
  local unit, length = string.match(behind, '^|([^/]*)/([^/]*)')
  local is_log = unit ~= 'concurrency' and tonumber(length) ~= nil
  return { first = is_log and 17 or 1, has_total = is_log, pairs = unit == 'concurrency' }
end

local function counts_of(kind, text)
  local counts = {}
  for i = kind.first, #text, 32 do
    local name = string.sub(text, i, i + (kind.pairs and 31 or 15))
    counts[name] = (counts[name] or 0) + (kind.pairs and 1 or tonumber(string.sub(text, i + 16, i + 31)))
  end
  return counts
end

local function text_of(kind, counts)
  local names, total = {}, 0
  for name, count in pairs(counts) do
    names[#names + 1], total = name, total + count
  end
  table.sort(names)
  for i, name in ipairs(names) do
    names[i] = kind.pairs and string.rep(name, counts[name]) or name .. clock.text(counts[name])
  end
  return (kind.has_total and clock.text(total) or '') .. table.concat(names)
end

local function joined(behind, text, more, is_gone)
  local kind = kind_of(behind)
  local counts = counts_of(kind, text)
  for name, count in pairs(counts_of(kind, more)) do
    local own = counts[name] or 0
    counts[name] = is_gone and own + count or math.max(own, count)
  end
  return text_of(kind, counts)
end

local function later(text, other)
  return cooldown.read(other).ends > cooldown.read(text).ends and other or text
end

-- Read before anything is written: accounts may change places.
local found, aliases = {}, {}
for _, field in ipairs(redis.call('HKEYS', state)) do
  local before, account, behind = around(field)
  local old = before and moves[account]
  if old then
    found[#found + 1] =
      { field = field, before = before, behind = behind, old = old, text = redis.call('HGET', state, field) }
  elseif string.sub(field, 1, 3) == 'as|' then
    aliases[string.sub(field, 4)] = redis.call('HGET', state, field)
  end
end

local function give(one, account)
  local field = one.before .. account .. one.behind
  local text = redis.call('HGET', state, field)
  if not text then
    text = one.text
  elseif one.before == 'w|' then
    text = joined(one.behind, text, one.text, one.old.gone)
  else
    text = later(text, one.text)
  end
  redis.call('HSET', state, field, text)
end

-- What is copied comes first: what is added is then added to all of it.
for _, is_gone in ipairs({ false, true }) do
  for _, one in ipairs(found) do
    if one.old.gone == is_gone then
      for _, account in ipairs(one.old.to) do
        give(one, account)
      end
      if is_gone then
        redis.call('HDEL', state, one.field)
      end
    end
  end
end

-- Whom each name stands for from now on. One that somebody has again stands for itself.
local function renamed(account)
  local old = moves[account]
  return old and old.gone and #old.to == 1 and old.to[1] or account
end

for name, account in pairs(aliases) do
  redis.call('HDEL', state, 'as|' .. name)
  aliases[name] = moved and renamed(account) or nil
end
for name, old in pairs(moves) do
  aliases[name] = old.gone and #old.to == 1 and old.to[1] or nil
end
for _, old in pairs(moves) do
  for _, account in ipairs(old.to) do
    aliases[account] = nil
  end
end
redis.call('HSET', state, 'clock', clock_text)
redis.call('HDEL', state, 'moved')
for name, account in pairs(aliases) do
  redis.call('HSET', state, 'as|' .. name, account, 'moved', clock.text(now + accounts.KEEP))
end
return #found
