-- A sliding window as a text of 16-digit numbers: the total of its counts, then ascending pairs (moment, count), past
-- and reserved alike. The total makes a look at a window cost the same however full it is: with room nothing is read,
-- without room only what is older than the max-th newest.
--
-- Up to a maximum of EXACT each moment has a pair of its own. Above, moments are rounded *up* to a sixtieth of the
-- window, which bounds the text to some 62 pairs and may admit too little, never too much. Both read what the other
-- wrote. An entry goes when it can matter to nobody, at moment + window + guard: trimming at `now - window`, or by
-- count, breaks the budget as soon as a reservation is given back.
--
-- A limit is {name, max, window, guard}, its times in microseconds.
local window = { EXACT = 64, TOTAL = 16, PAIR = 32 }

local function moment_at(text, i)
  return tonumber(string.sub(text, i, i + 15))
end

local function count_at(text, i)
  return tonumber(string.sub(text, i + 16, i + 31))
end

local function total_of(text)
  return tonumber(string.sub(text, 1, window.TOTAL)) or 0
end

local function digits(...)
  return string.format(string.rep('%016.0f', select('#', ...)), ...)
end

-- The end of the sixtieth of the window that `moment` lies in. math.fmod is exact where `%` is not.
local function rounded_up(limit, moment)
  local step = math.ceil(limit.window / 60)
  local over = math.fmod(moment, step)
  return over == 0 and moment or moment + step - over
end

-- From when on there is room for one more: `window + guard` after the max-th newest entry; 0: at any time.
function window.free_at(limit, text)
  local older = total_of(text) - limit.max
  if older < 0 then
    return 0
  end
  local i = window.TOTAL + 1
  while older >= count_at(text, i) do
    older = older - count_at(text, i)
    i = i + window.PAIR
  end
  return moment_at(text, i) + limit.window + limit.guard
end

-- The same, with regard only to grants of moments up to `moment`: of one that was rounded up nobody knows how much of
-- its sixtieth is past, so it counts when its sixtieth has begun.
function window.free_before(limit, text, moment)
  local left, bound = limit.max, rounded_up(limit, moment)
  for i = #text - window.PAIR + 1, window.TOTAL + 1, -window.PAIR do
    local at = moment_at(text, i)
    if at <= moment or (at <= bound and at == rounded_up(limit, at)) then
      left = left - count_at(text, i)
      if left <= 0 then
        return at + limit.window + limit.guard
      end
    end
  end
  return 0
end

-- The text with one entry more, in its place, and without what can matter to nobody at `now`.
function window.enter(limit, text, moment, now)
  local stamp = limit.max <= window.EXACT and moment or rounded_up(limit, moment)
  local total, first, at = total_of(text), window.TOTAL + 1, #text + 1
  while first < at and moment_at(text, first) + limit.window + limit.guard <= now do
    total = total - count_at(text, first)
    first = first + window.PAIR
  end
  while at > first and moment_at(text, at - window.PAIR) > stamp do
    at = at - window.PAIR
  end
  local count, older = 1, at - 1
  if at > first and moment_at(text, at - window.PAIR) == stamp then
    count = count_at(text, at - window.PAIR) + 1
    older = older - window.PAIR
  end
  return digits(total + 1) .. string.sub(text, first, older) .. digits(stamp, count) .. string.sub(text, at)
end

-- The text without the entry made at `moment`, and whether it was still there. Another config may have entered it
-- exactly or rounded; once it can matter to nobody, a rounded pair of that moment holds only others.
function window.leave(limit, text, moment, now)
  if moment + limit.window + limit.guard <= now then
    return text, false
  end
  local rounded = rounded_up(limit, moment)
  for i = window.TOTAL + 1, #text, window.PAIR do
    local at = moment_at(text, i)
    if at == moment or at == rounded then
      local count = count_at(text, i) - 1
      local kept = string.sub(text, window.TOTAL + 1, i - 1) .. (count > 0 and digits(at, count) or '')
      return digits(total_of(text) - 1) .. kept .. string.sub(text, i + window.PAIR), true
    end
  end
  return text, false
end
