-- A window that begins anew at a midnight, as a text of 16-digit numbers: ascending pairs (start of the period, count).
--
-- The caller computes the boundaries, which no Lua knows: five ascending moments, of which the second or third period
-- should hold now. Entries belong to the period in which their start lies, so that a caller with other boundaries (of
-- another edition of the time zones) counts what is there: a stored later start wins.
--
-- A grant may arrive up to the guard later, and the provider's clock may be as much behind: one within the guard of a
-- boundary counts on both of its sides.
local function make_calendar()
  local calendar = {}

  -- The first and the last period that a grant of `moment` touches; of moments beyond all boundaries nothing is known.
  local function touched(limit, moment)
    local first, last = 1, 0
    for i = 1, 4 do
      if limit.bounds[i + 1] + limit.guard <= moment then
        first = i + 1
      end
      if limit.bounds[i] <= moment + limit.guard then
        last = i
      end
    end
    return first, last
  end

  -- What counts in the period, and where in the text its latest entry stands.
  local function counted(limit, text, period)
    local sum, at = 0, nil
    for i = 1, #text, PAIR do
      local start = number_at(text, i)
      if start >= limit.bounds[period] and start < limit.bounds[period + 1] then
        sum, at = sum + number_at(text, i + 16), i
      end
    end
    return sum, at
  end

  -- The first moment from `t` on at which every period that it touches has room for `need` more.
  function calendar.free_at(limit, text, t, need)
    local first, last = touched(limit, t)
    for period = last, first, -1 do
      if counted(limit, text, period) + need > limit.max then
        return calendar.free_at(limit, text, limit.bounds[period + 1] + limit.guard, need)
      end
    end
    return t
  end

  -- A period does not tell which of its counts lie ahead, so all of them stand before a grant.
  calendar.free_before = calendar.free_at

  function calendar.enter(limit, text, moment, now, amount)
    local oldest = limit.bounds[(touched(limit, now))] or 0
    while #text > 0 and number_at(text, 1) < oldest do
      text = string.sub(text, PAIR + 1)
    end
    local first, last = touched(limit, moment)
    for period = first, last do
      local _, at = counted(limit, text, period)
      if at then
        local more = string.sub(text, at, at + 15) .. digits(number_at(text, at + 16) + amount)
        text = string.sub(text, 1, at - 1) .. more .. string.sub(text, at + PAIR)
      else
        at = 1
        while at <= #text and number_at(text, at) < limit.bounds[period] do
          at = at + PAIR
        end
        text = string.sub(text, 1, at - 1) .. digits(limit.bounds[period]) .. digits(amount) .. string.sub(text, at)
      end
    end
    return text
  end

  -- The text without the grant of `moment`, and whether any of its periods still held it.
  function calendar.leave(limit, text, moment, _, amount)
    local found = false
    local first, last = touched(limit, moment)
    for period = first, last do
      local _, at = counted(limit, text, period)
      if at then
        local count = number_at(text, at + 16) - amount
        local kept = count > 0 and string.sub(text, at, at + 15) .. digits(count) or ''
        text, found = string.sub(text, 1, at - 1) .. kept .. string.sub(text, at + PAIR), true
      end
    end
    return text, found
  end

  return calendar
end
