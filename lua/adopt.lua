-- adopt: whose each key is. What is known of an account goes along with keys that have another one since.
--
-- KEYS  1        state      HASH
-- ARGV  now      "" or, in tests, microseconds
--       keys     count of texts, then two for each key of the caller's config: its fingerprint and its account
-- returns        how many windows and rests of old accounts there were
-- cost           2 commands, and for each 1,000 keys 1, or 2 where any is new or has another account, and 1 more where names
--                stand for others already; where any has another account 2 more, one of which reads the names of all fields
--                of the state; for each field of an old account 2, and 2 for each account that it goes to; 3 for each name
--                that stands for another from now on, and 3 for each that did: once a change of config
--
-- `of|KEY` says whose a key was when it was last told, so a config that was changed while no sidecar ran moves as much as
-- one that is reloaded. Of an old account with which no key of the config stays all counts are added to those of the new
-- one, for the provider counts the keys that join together, and the old one is forgotten. Its name stands for the new one
-- then (parts/accounts.lua), for replicas that have not reloaded yet, and for requests in flight; not where its keys went
-- to several. One that other keys still have stays, and the new one gets as much of each moment as either had. Of two
-- rests the one that ends later stays. A key's own rests are named after its secret. Nobody is woken, for no key has
-- more room.
--@ use clock numbers cooldown accounts args
local state, CHUNK = KEYS[1], 1000
local now, clock_text, moved = clock.read(state, args.text())
local texts, moves, named, kept = args.texts(), {}, {}, {}
for i = 2, #texts, 2 do
  named[texts[i]] = true
end

local function move(old, new)
  local known = moves[old] or { to = {}, has = {} }
  if not known.has[new] then
    known.to[#known.to + 1], known.has[new] = new, true
  end
  moves[old] = known
end

for from = 1, #texts, 2 * CHUNK do
  local fields, names, changed = {}, {}, {}
  for i = from, math.min(from + 2 * CHUNK - 1, #texts), 2 do
    fields[#fields + 1], names[#names + 1] = 'of|' .. texts[i], 'as|' .. texts[i + 1]
  end
  for i, old in ipairs(redis.call('HMGET', state, unpack(fields))) do
    local new = texts[from + 2 * i - 1]
    kept[new] = kept[new] or not old or old == new
    if old ~= new then
      changed[#changed + 1], changed[#changed + 2] = fields[i], new
      if old then
        move(old, new)
      end
    end
  end
  if #changed > 0 then
    redis.call('HSET', state, 'clock', clock_text, unpack(changed))
  end
  if moved then
    redis.call('HDEL', state, unpack(names)) -- what the config names stands for itself
  end
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
  for i = kind.first, #text, PAIR do
    local name = string.sub(text, i, i + (kind.pairs and 31 or 15))
    counts[name] = (counts[name] or 0) + (kind.pairs and 1 or number_at(text, i + 16))
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

-- What old accounts hold, and the names that stand for others. All is read before anything is written: accounts may
-- change places.
local function read()
  local found, aliases = {}, {}
  for _, field in ipairs(redis.call('HKEYS', state)) do
    local before, account, behind = around(field)
    local old = before and moves[account]
    if old then
      local text = redis.call('HGET', state, field)
      found[#found + 1] = { field = field, before = before, behind = behind, old = old, text = text }
    elseif string.sub(field, 1, 3) == 'as|' then
      aliases[string.sub(field, 4)] = redis.call('HGET', state, field)
    elseif string.sub(field, 1, 3) == 'sa|' then
      redis.call('HDEL', state, field)
    end
  end
  return found, aliases
end

-- What is copied comes first: what is added is then added to all of it.
local function hand_over(found)
  for _, one in ipairs(found) do
    if one.old.gone then
      redis.call('HDEL', state, one.field)
    end
  end
  for _, is_gone in ipairs({ false, true }) do
    for _, one in ipairs(found) do
      if one.old.gone == is_gone then
        for _, account in ipairs(one.old.to) do
          give(one, account)
        end
      end
    end
  end
end

-- The only heir of an account that nobody has any more; nil: there is none, or several.
local function heir(account)
  local old = moves[account]
  return old and old.gone and not named[account] and #old.to == 1 and old.to[1] or nil
end

local function rename(aliases)
  redis.call('HDEL', state, 'moved')
  for name, account in pairs(aliases) do
    redis.call('HDEL', state, 'as|' .. name)
    aliases[name] = moved and (heir(account) or account) or nil
  end
  for name in pairs(moves) do
    aliases[name] = heir(name)
  end
  for name, account in pairs(aliases) do
    local others = redis.call('HGET', state, 'sa|' .. account)
    redis.call('HSET', state, 'as|' .. name, account, 'moved', clock.text(now + accounts.KEEP))
    redis.call('HSET', state, 'sa|' .. account, (others and others .. '\n' or '') .. name)
  end
end

if not next(moves) then
  return 0
end
for account, old in pairs(moves) do
  old.gone = not kept[account]
end
local found, aliases = read()
hand_over(found)
rename(aliases)
return #found
