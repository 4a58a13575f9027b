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

-- A set of limits: for each its name, maximum, window and guard.
function args.limits()
  local limits = {}
  for i = 1, args.number() do
    limits[i] = { name = args.text(), max = args.number(), window = args.number(), guard = args.number() }
  end
  return limits
end
