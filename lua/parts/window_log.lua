-- A sliding window as a text of 16-digit numbers: the total of its counts, then ascending pairs (moment, count), past
-- and reserved alike. The total makes a look at a window cost the same however full it is: with room nothing is read,
-- without room only what is older than the newest that fill the maximum, and all where some of it is reserved.
--
-- Up to a maximum of EXACT each moment has a pair of its own. Above, and where nothing is refused, moments are rounded
-- *up* to a sixtieth of the window, which bounds the text to some 62 pairs and may admit too little, never too much.
-- Both read what the other wrote. An entry goes when it can matter to nobody, at moment + window + guard: trimming at `now - window`, or by
-- count, breaks the budget as soon as a reservation is given back.
--
-- A limit is {max, holds, window, guard}, its times in microseconds. An amount is what one grant counts: 1, or its tokens.
local window = { EXACT = 64, TOTAL = 16 }

local function total_of(text)
  return tonumber(string.sub(text, 1, window.TOTAL)) or 0
end

local function step_of(limit)
  return math.ceil(limit.window / 60)
end

-- The end of the sixtieth of the window that `moment` lies in. math.fmod is exact where `%` is not.
local function rounded_up(limit, moment)
  local over = math.fmod(moment, step_of(limit))
  return over == 0 and moment or moment + step_of(limit) - over
end

local function is_exact(limit)
  return limit.max <= window.EXACT and limit.holds
end

local function stamp_of(limit, moment)
  return is_exact(limit) and moment or rounded_up(limit, moment)
end

-- What is reserved for later leaves room before it: as much as leaves no window with more than the maximum. Windows
-- begin with an entry, or with the grant itself; where some are rounded up, which may be a sixtieth earlier than they
-- say, all reach as much further. Who `leaves` a share to others keeps that sixtieth apart from what was before: else
-- moments a window apart look as if they might lie in one, and nobody finds the share between them. Both ends of a window
-- only move on: each entry is looked at a few times.
local function free_between(limit, text, t, need, leaves)
  local left, length, reach = limit.max - need, limit.window + limit.guard, 0
  local moments, counts = {}, {}
  for i = window.TOTAL + 1, #text, PAIR do
    local at = number_at(text, i)
    moments[#moments + 1], counts[#counts + 1] = at, number_at(text, i + 16)
    reach = at == rounded_up(limit, at) and step_of(limit) or reach
  end
  reach = length + reach
  if leaves and not is_exact(limit) then
    length = length + step_of(limit)
    reach = math.max(reach, length)
  end
  -- What lies within the window that begins with `start`; asked with ascending starts.
  local function counter()
    local first, last, sum = 1, 1, 0
    return function(start)
      while last <= #moments and moments[last] < start + reach do
        sum, last = sum + counts[last], last + 1
      end
      while first < last and moments[first] < start do
        sum, first = sum - counts[first], first + 1
      end
      return sum
    end
  end
  local from_entry, from_grant, i = counter(), counter(), 1
  while true do
    while i <= #moments and moments[i] <= stamp_of(limit, t) do
      if moments[i] + length > t and from_entry(moments[i]) > left then
        t = moments[i] + length
      end
      i = i + 1
    end
    if i > #moments or from_grant(t) <= left then
      return t
    end
    t = moments[i]
  end
end

-- Whether anything is granted later than `t`, other than in its sixtieth, which counts as all of it.
local function is_reserved(limit, text, t)
  local i = #text - PAIR + 1
  if number_at(text, i) == stamp_of(limit, t) then
    i = i - PAIR
  end
  return i > window.TOTAL and number_at(text, i) > t
end

-- From when on there is room for `need` more, `t` at the earliest: `window + guard` after the entry with which the
-- newest ones leave too little.
function window.free_at(limit, text, t, need, leaves)
  local older = total_of(text) + need - limit.max
  if older <= 0 then
    return t
  end
  if leaves or is_reserved(limit, text, t) then
    return free_between(limit, text, t, need, leaves)
  end
  local i = window.TOTAL + 1
  while older > number_at(text, i + 16) do
    older = older - number_at(text, i + 16)
    i = i + PAIR
  end
  return math.max(t, number_at(text, i) + limit.window + limit.guard)
end

-- The same, with regard only to grants of moments up to `moment`: of one that was rounded up nobody knows how much of
-- its sixtieth is past, so it counts when its sixtieth has begun.
function window.free_before(limit, text, moment, need)
  local left, bound = limit.max - need, rounded_up(limit, moment)
  for i = #text - PAIR + 1, window.TOTAL + 1, -PAIR do
    local at = number_at(text, i)
    if at <= moment or (at <= bound and at == rounded_up(limit, at)) then
      left = left - number_at(text, i + 16)
      if left < 0 then
        return math.max(moment, at + limit.window + limit.guard)
      end
    end
  end
  return moment
end

-- The text with a grant more, in its place, and without what can matter to nobody at `now`.
function window.enter(limit, text, moment, now, amount)
  local stamp = stamp_of(limit, moment)
  local total, first, at = total_of(text), window.TOTAL + 1, #text + 1
  while first < at and number_at(text, first) + limit.window + limit.guard <= now do
    total = total - number_at(text, first + 16)
    first = first + PAIR
  end
  local newest = at > first and number_at(text, at - PAIR) or 0
  while newest > stamp do
    at = at - PAIR
    newest = at > first and number_at(text, at - PAIR) or 0
  end
  local count, older = amount, at - 1
  if newest == stamp then
    count = number_at(text, at - PAIR + 16) + amount
    older = older - PAIR
  end
  local kept, newer = string.sub(text, first, older), string.sub(text, at)
  return digits(total + amount) .. kept .. digits(stamp) .. digits(count) .. newer
end

-- The text without the grant of `moment`, and whether it was still there. Another config may have entered it exactly
-- or rounded; once it can matter to nobody, a rounded pair of that moment holds only others.
function window.leave(limit, text, moment, now, amount)
  if moment + limit.window + limit.guard <= now then
    return text, false
  end
  local rounded = rounded_up(limit, moment)
  for i = window.TOTAL + 1, #text, PAIR do
    local at = number_at(text, i)
    if at == moment or at == rounded then
      local gone = math.min(amount, number_at(text, i + 16))
      local count = number_at(text, i + 16) - gone
      local kept = string.sub(text, window.TOTAL + 1, i - 1) .. (count > 0 and digits(at) .. digits(count) or '')
      return digits(total_of(text) - gone) .. kept .. string.sub(text, i + PAIR), true
    end
  end
  return text, false
end
