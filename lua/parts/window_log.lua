-- A sliding window as a text: ascending pairs of 16 digits each, (moment, count), past and reserved alike.
--
-- Up to a maximum of EXACT each moment has a pair of its own. Above, moments are rounded *up* to a sixtieth of the
-- window, which bounds the text to some 62 pairs and may admit too little, never too much. Both read what the other
-- wrote. An entry goes when it can matter to nobody, at moment + window + guard: trimming at `now - window`, or by
-- count, breaks the budget as soon as a reservation is given back.
--
-- A limit is {name, max, window, guard}, its times in microseconds.
local window = { EXACT = 64, PAIR = 32 }

local function moment_at(text, i)
  return tonumber(string.sub(text, i, i + 15))
end

local function count_at(text, i)
  return tonumber(string.sub(text, i + 16, i + 31))
end

local function pair(moment, count)
  return string.format('%016.0f%016.0f', moment, count)
end

-- The end of the sixtieth of the window that `moment` lies in. math.fmod is exact where `%` is not.
local function rounded_up(limit, moment)
  local step = math.ceil(limit.window / 60)
  local over = math.fmod(moment, step)
  return over == 0 and moment or moment + step - over
end

-- From when on there is room for one more: `window + guard` after the max-th newest entry; 0: at any time.
function window.free_at(limit, text)
  local left = limit.max
  for i = #text - window.PAIR + 1, 1, -window.PAIR do
    left = left - count_at(text, i)
    if left <= 0 then
      return moment_at(text, i) + limit.window + limit.guard
    end
  end
  return 0
end

-- The text with one entry more, in its place, and without what can matter to nobody at `now`.
function window.enter(limit, text, moment, now)
  local stamp = limit.max <= window.EXACT and moment or rounded_up(limit, moment)
  local first, at = 1, #text + 1
  while first < at and moment_at(text, first) + limit.window + limit.guard <= now do
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
  return string.sub(text, first, older) .. pair(stamp, count) .. string.sub(text, at)
end

-- The text without the entry made at `moment`, and whether it was still there. Another config may have entered it
-- exactly or rounded; once it can matter to nobody, a rounded pair of that moment holds only others.
function window.leave(limit, text, moment, now)
  if moment + limit.window + limit.guard <= now then
    return text, false
  end
  local rounded = rounded_up(limit, moment)
  for i = 1, #text, window.PAIR do
    local at = moment_at(text, i)
    if at == moment or at == rounded then
      local count = count_at(text, i) - 1
      local kept = count > 0 and pair(at, count) or ''
      return string.sub(text, 1, i - 1) .. kept .. string.sub(text, i + window.PAIR), true
    end
  end
  return text, false
end
