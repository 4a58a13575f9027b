-- ARGV read from left to right. What repeats is preceded by its count.
local args = {}

local at, calendars = 0, {}

-- Numbers by their texts, each read once: most are small, and the same for every limit.
local numbers = setmetatable({}, {
  __index = function(known, text)
    local number = tonumber(text)
    if number then
      known[text] = number
    end
    return number
  end,
})

function args.text()
  at = at + 1
  return ARGV[at]
end

function args.number()
  at = at + 1
  return numbers[ARGV[at]]
end

function args.texts()
  local list = {}
  for i = 1, args.number() do
    list[i] = args.text()
  end
  return list
end

-- What a request counts in each unit: a list of six (sidecar/model/words.py).
function args.amounts()
  local first = at + 1
  at = at + 6
  return {
    numbers[ARGV[first]],
    numbers[ARGV[first + 1]],
    numbers[ARGV[first + 2]],
    numbers[ARGV[first + 3]],
    numbers[ARGV[first + 4]],
    numbers[ARGV[first + 5]],
  }
end

-- A set of limits: for each its name, kind of window, unit, maximum, whether it is enforced (1 or 0), window and guard,
-- and, of a calendar, the five boundaries of the periods around the caller's now.
function args.limits()
  local limits = {}
  for i = 1, args.number() do
    local name, kind, unit, max, holds, length, guard = unpack(ARGV, at + 1, at + 7)
    at = at + 7
    local limit = {
      name = name,
      kind = kind,
      unit = numbers[unit],
      max = numbers[max],
      holds = holds == '1',
      window = numbers[length],
      guard = numbers[guard],
    }
    if kind == 'calendar' then
      limit.bounds = { args.number(), args.number(), args.number(), args.number(), args.number() }
      calendars[#calendars + 1] = limit.bounds
    end
    limits[i] = limit
  end
  return limits
end

-- Whether the boundaries of the calendars that were read are of the time around `now`.
function args.knows(now)
  for _, bounds in ipairs(calendars) do
    if not (bounds[2] <= now and now < bounds[4]) then
      return false
    end
  end
  return true
end

-- What a pool, or a client, as a whole may spend: the account that its windows have, and its limits.
function args.total()
  return { account = args.text(), limits = args.limits() }
end

-- A grant, as confirm and advance are told of it: the fields that confirm names, in its order.
function args.grant()
  local grant = { text = args.text(), target = { model = args.text(), line = '' }, moment = args.number() }
  grant.runs, grant.finds = args.text() == '1', args.text()
  grant.share, grant.amounts, grant.limits = args.number(), args.amounts(), args.limits()
  grant.target.pause, grant.target.door = args.text(), args.text()
  grant.target.total, grant.target.client = args.total(), args.total()
  return grant
end
