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

-- What a request counts in each unit: a list of six (sidecar/model/amounts.py).
function args.amounts()
  local amounts = {}
  for unit = 1, 6 do
    amounts[unit] = args.number()
  end
  return amounts
end

-- A set of limits: for each its name, kind of window, unit, maximum, whether it is enforced (1 or 0), window and guard,
-- and, of a calendar, the five boundaries of the periods around the caller's now.
function args.limits()
  local limits = {}
  for i = 1, args.number() do
    local limit = { name = args.text(), kind = args.text(), unit = args.number(), max = args.number() }
    limit.holds, limit.window, limit.guard = args.text() == '1', args.number(), args.number()
    if limit.kind == 'calendar' then
      limit.bounds = { args.number(), args.number(), args.number(), args.number(), args.number() }
    end
    limits[i] = limit
  end
  return limits
end

-- What a pool as a whole may spend: the account that its windows have, and its limits.
function args.total()
  return { account = args.text(), limits = args.limits() }
end
