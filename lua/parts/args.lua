-- ARGV read from left to right. What repeats is preceded by its count.
local args = { at = 0 }

function args.text()
  args.at = args.at + 1
  return ARGV[args.at]
end

function args.number()
  return tonumber(args.text())
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
  local at, amounts = args.at, {}
  for unit = 1, 6 do
    amounts[unit] = tonumber(ARGV[at + unit])
  end
  args.at = at + 6
  return amounts
end

-- A set of limits: for each its name, kind of window, unit, maximum, whether it is enforced (1 or 0), window and guard,
-- and, of a calendar, the five boundaries of the periods around the caller's now.
function args.limits()
  local limits = {}
  for i = 1, args.number() do
    local at = args.at
    local limit = {
      name = ARGV[at + 1],
      kind = ARGV[at + 2],
      unit = tonumber(ARGV[at + 3]),
      max = tonumber(ARGV[at + 4]),
      holds = ARGV[at + 5] == '1',
      window = tonumber(ARGV[at + 6]),
      guard = tonumber(ARGV[at + 7]),
    }
    args.at = at + 7
    if limit.kind == 'calendar' then
      limit.bounds = { args.number(), args.number(), args.number(), args.number(), args.number() }
    end
    limits[i] = limit
  end
  return limits
end

-- Whether the boundaries of the calendars among these limits are of the time around `now`.
function args.knows(limits, now)
  for _, limit in ipairs(limits) do
    if limit.bounds and not (limit.bounds[2] <= now and now < limit.bounds[4]) then
      return false
    end
  end
  return true
end

-- What a pool as a whole may spend: the account that its windows have, and its limits.
function args.total()
  return { account = args.text(), limits = args.limits() }
end
